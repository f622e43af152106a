/// The payloads of `step` (authenticators) and `store` (offset stores): a deadline on CLOCK_MONOTONIC in nanoseconds, then
/// what the call carries. Certificates: at most 16, each with its length before it.
package enum ChildStep {
  package static let certificateLimit = 16

  package static func frame(
    instance: UInt32, call: UInt64, deadline: UInt64, exchange: UInt64, mechanism: String,
    certificates: [[UInt8]], serverName: String, address: String, exporter: [UInt8], message: [UInt8]
  ) -> [UInt8] {
    var writer = FrameWriter(.step, instance: instance, call: call, capacity: 512 + message.count)
    writer.put(deadline)
    writer.put(exchange)
    writer.put(mechanism)
    writer.put(serverName)
    writer.put(address)
    writer.put(sized: exporter)
    let chain = certificates.prefix(certificateLimit)
    writer.put(UInt32(chain.count))
    for certificate in chain { writer.put(sized: certificate) }
    writer.put(sized: message)
    return writer.finish()
  }

  /// Calls `step` of `instance` with what the payload says.
  /// - Returns: false if the instance is no authenticator.
  package static func carryOut(
    _ payload: UnsafeRawBufferPointer, call: UInt64, on instance: LoadedInstance
  ) throws(ChildFrame.Malformed) -> Bool {
    var reader = FrameReader(payload)
    let deadline = try reader.take(UInt64.self)
    let exchange = try reader.take(UInt64.self)
    let mechanism = try reader.sized()
    var peer = LoadedInstance.Peer()
    peer.serverName = try reader.sized()
    peer.address = try reader.sized()
    peer.exporter = try reader.sized()
    let count = Int(try reader.take(UInt32.self))
    guard count <= certificateLimit else { throw ChildFrame.Malformed("\(count) certificates") }
    for _ in 0..<count { peer.chain.append(try reader.sized()) }
    let message = try reader.sized()
    try reader.end()
    return instance.step(
      call: call, deadline: deadline, exchange: exchange, mechanism: mechanism, peer: peer, message: message)
  }

  package static func storeFrame(
    _ operation: LoadedInstance.StoreOperation, instance: UInt32, call: UInt64, deadline: UInt64,
    request: [UInt8]
  ) -> [UInt8] {
    var writer = FrameWriter(.store, instance: instance, call: call, capacity: 16 + request.count)
    writer.put(deadline)
    writer.put(operation.rawValue)
    writer.put(sized: request)
    return writer.finish()
  }

  /// - Returns: false if the instance is no offset store.
  package static func carryOutStore(
    _ payload: UnsafeRawBufferPointer, call: UInt64, on instance: LoadedInstance
  ) throws(ChildFrame.Malformed) -> Bool {
    var reader = FrameReader(payload)
    let deadline = try reader.take(UInt64.self)
    guard let operation = LoadedInstance.StoreOperation(rawValue: try reader.take(UInt8.self)) else {
      throw ChildFrame.Malformed("an unknown operation of an offset store")
    }
    let request = try reader.sized()
    try reader.end()
    return instance.store(operation, call: call, deadline: deadline, request: request)
  }
}
