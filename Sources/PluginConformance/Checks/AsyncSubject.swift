import CSkeinPlugin
import Glibc
import PluginPackage

/// One instance of a kind with asynchronous calls, and a harmless call on it.
final class AsyncSubject {
  let instance: PluginInstance
  let kind: PluginKind
  let host: TestHost
  private let store: skein_offset_store?
  private let authenticator: skein_authenticator?
  private var nextExchange: UInt64 = 1
  private let doing: (String) -> Void

  init(_ context: CheckContext, _ plugin: PluginUnderTest, _ kind: PluginKind, config: String? = nil) throws {
    instance = try context.create(plugin, kind, config: config)
    self.kind = kind
    host = plugin.host
    doing = context.doing
    store = kind == .offsetStore ? try plugin.offsetStore() : nil
    authenticator = kind == .authenticator ? try plugin.authenticator() : nil
  }

  init(_ context: CheckContext, _ instance: PluginInstance, _ kind: PluginKind) throws {
    self.instance = instance
    self.kind = kind
    host = instance.plugin.host
    doing = context.doing
    store = kind == .offsetStore ? try instance.plugin.offsetStore() : nil
    authenticator = kind == .authenticator ? try instance.plugin.authenticator() : nil
  }

  static func deadline(in seconds: Double) -> UInt64 { Monotonic.now() + UInt64(max(0, seconds) * 1e9) }

  enum StoreCall: String { case commit, fetch, scan, remove }

  /// Begins a call of an offset store.
  func begin(_ what: StoreCall, _ request: [UInt8], deadline: UInt64) -> skein_call {
    let call = host.newCall()
    doing("\(what.rawValue), call \(call)")
    request.withUnsafeBufferPointer { buffer in
      let bytes = skein_bytes(ptr: buffer.baseAddress, len: buffer.count)
      switch what {
      case .commit: store?.commit(instance.pointer, call, deadline, bytes)
      case .fetch: store?.fetch(instance.pointer, call, deadline, bytes)
      case .scan: store?.scan(instance.pointer, call, deadline, bytes)
      case .remove: store?.remove(instance.pointer, call, deadline, bytes)
      }
    }
    return call
  }

  func newExchange() -> UInt64 {
    defer { nextExchange += 1 }
    return nextExchange
  }

  /// Begins a step of an exchange.
  func step(_ exchange: UInt64, mechanism: String, message: [UInt8], deadline: UInt64) -> skein_call {
    let call = host.newCall()
    doing("step of mechanism \(mechanism) with \(message.count) bytes, call \(call)")
    let exporter = [UInt8](repeating: 7, count: 32)
    let address = Array("127.0.0.1:50122".utf8)
    let mechanism = Array(mechanism.utf8)
    message.withUnsafeBufferPointer { message in
      exporter.withUnsafeBufferPointer { exporter in
        address.withUnsafeBufferPointer { address in
          mechanism.withUnsafeBufferPointer { mechanism in
            var peer = skein_peer()
            peer.size = UInt32(MemoryLayout<skein_peer>.size)
            peer.address = skein_bytes(ptr: address.baseAddress, len: address.count)
            peer.tls_exporter = skein_bytes(ptr: exporter.baseAddress, len: exporter.count)
            authenticator?.step(
              instance.pointer, call, deadline, exchange,
              skein_bytes(ptr: mechanism.baseAddress, len: mechanism.count), &peer,
              skein_bytes(ptr: message.baseAddress, len: message.count))
          }
        }
      }
    }
    return call
  }

  func end(_ exchange: UInt64) {
    doing("end of exchange \(exchange)")
    authenticator?.end(instance.pointer, exchange)
  }

  /// A call that asks for nothing special: what a group that does not exist has, or a wrong credential.
  func harmless(deadline: UInt64) -> skein_call {
    if kind == .offsetStore {
      return begin(.fetch, StoreMessages.fetch(group: "conformance-nobody"), deadline: deadline)
    }
    let exchange = newExchange()
    let call = step(
      exchange, mechanism: "bearer", message: Array("conformance-wrong".utf8), deadline: deadline)
    exchanges[call] = exchange
    return call
  }

  /// Exchanges of `harmless` calls, to be ended.
  private var exchanges: [skein_call: UInt64] = [:]

  func endExchanges() {
    for (_, exchange) in exchanges.sorted(by: { $0.value < $1.value }) { end(exchange) }
    exchanges = [:]
  }

  func cancel(_ call: skein_call) {
    doing("cancel of call \(call)")
    host.cancel(call)
    if let store { store.cancel(instance.pointer, call) }
    if let authenticator { authenticator.cancel(instance.pointer, call) }
  }

  /// Begins quiesce; the call that it ends by `complete`.
  func quiesce() throws -> skein_call {
    guard let quiesce = instance.ops.quiesce else {
      throw Broken(
        "the table of \(kind.rawValue) has no quiesce",
        cure: "a kind with asynchronous calls says when none is open")
    }
    let done = host.newCall()
    doing("quiesce")
    quiesce(instance.pointer, done)
    return done
  }

  /// Quiesce, wait, destroy: how a broker ends an instance.
  func close() throws {
    endExchanges()
    let done = try quiesce()
    guard host.wait(for: [done], seconds: 5).isEmpty else {
      throw Broken("quiesce was not completed within 5 s", cure: "complete `done` once no call is open")
    }
    instance.destroy(doing: doing)
  }
}

/// A few ordinary calls on any kind.
enum Exercise {
  static func calls(_ count: Int, _ instance: PluginInstance, _ kind: PluginKind, _ context: CheckContext)
    throws
  {
    if kind == .partitioner {
      let subject = try PartitionerUnderTest(instance, doing: context.doing)
      var random = context.random()
      let samples = RecordSamples(context.manifest)
      for _ in 0..<count { _ = try subject.place(samples.ordinary(10, partitions: 12, random: &random)) }
      return
    }
    let subject = try AsyncSubject(context, instance, kind)
    for begin in stride(from: 0, to: count, by: 100) {
      let calls = (begin..<min(count, begin + 100)).map { _ in
        subject.harmless(deadline: AsyncSubject.deadline(in: 0.5))
      }
      guard subject.host.wait(for: calls, seconds: 3).isEmpty else {
        throw Broken(
          "a call was not completed within 3 s, with a deadline of 0.5 s",
          cure: "end every call by exactly one `complete`, also when it fails")
      }
    }
    subject.endExchanges()
    // The instance is about to be destroyed, which comes after quiesce only.
    if instance.ops.quiesce != nil {
      let done = try subject.quiesce()
      _ = subject.host.wait(for: [done], seconds: 1)
    }
  }

  static let check = Check(
    "calls.basic", "A few ordinary calls come back.", after: ["load.create"], seconds: 15
  ) { context in
    try ProcessChecks.exercise(context, calls: 5)
    return .passed()
  }
}
