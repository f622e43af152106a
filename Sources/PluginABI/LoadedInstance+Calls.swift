internal import CSkeinPlugin

/// The asynchronous calls of authenticators and offset stores. Each returns at once; the answer comes to
/// `HostServices.onCompletion`, exactly once, unless the host abandons the call first. Any thread.
extension LoadedInstance {
  /// Which call of an offset store; the raw value is the protocol's (Docs/formats/plugin-child.md).
  package enum StoreOperation: UInt8, Sendable, CaseIterable {
    case commit = 0
    case fetch = 1
    case scan = 2
    case remove = 3
  }

  /// A peer as it lies in a frame or in the broker.
  package struct Peer {
    package var chain: [UnsafeRawBufferPointer] = []
    package var serverName = UnsafeRawBufferPointer(start: nil, count: 0)
    package var address = UnsafeRawBufferPointer(start: nil, count: 0)
    package var exporter = UnsafeRawBufferPointer(start: nil, count: 0)
    package init() {}
  }

  /// - Parameter deadline: CLOCK_MONOTONIC, nanoseconds.
  /// - Returns: false if this is no authenticator.
  package func step(
    call: UInt64, deadline: UInt64, exchange: UInt64, mechanism: UnsafeRawBufferPointer, peer: Peer,
    message: UnsafeRawBufferPointer
  ) -> Bool {
    guard case .authenticator(let table) = tables, let step = table.step else { return false }
    plugin.services.calls.begin(call)
    let chain = peer.chain.map { skein_bytes($0) }
    chain.withUnsafeBufferPointer { chain in
      var raw = skein_peer()
      raw.size = UInt32(MemoryLayout<skein_peer>.size)
      raw.certificates = UInt32(chain.count)
      raw.chain = chain.baseAddress
      raw.server_name = skein_bytes(peer.serverName)
      raw.address = skein_bytes(peer.address)
      raw.tls_exporter = skein_bytes(peer.exporter)
      step(pointer, call, deadline, exchange, skein_bytes(mechanism), &raw, skein_bytes(message))
    }
    return true
  }

  package func end(exchange: UInt64) {
    if case .authenticator(let table) = tables { table.end?(pointer, exchange) }
  }

  /// - Returns: false if this is no offset store.
  package func store(
    _ operation: StoreOperation, call: UInt64, deadline: UInt64, request: UnsafeRawBufferPointer
  ) -> Bool {
    guard case .offsetStore(let table) = tables else { return false }
    let function =
      switch operation {
      case .commit: table.commit
      case .fetch: table.fetch
      case .scan: table.scan
      case .remove: table.remove
      }
    guard let function else { return false }
    plugin.services.calls.begin(call)
    function(pointer, call, deadline, skein_bytes(request))
    return true
  }

  /// Nobody waits for `call`; the plug-in is told if it is still open.
  package func cancel(call: UInt64) {
    guard plugin.services.calls.cancel(call) else { return }
    switch tables {
    case .authenticator(let table): table.cancel?(pointer, call)
    case .offsetStore(let table): table.cancel?(pointer, call)
    case .partitioner: break
    }
  }
}
