import CSkeinPlugin

/// The host's functions, each nil where this host does not have it.
///
/// `@unchecked Sendable`: C pointers that the host keeps valid until the process ends, and whose functions may be
/// called from any thread (skein_plugin.h).
struct Host: @unchecked Sendable {
  private let context: UnsafeMutableRawPointer?
  private let log: skein_host_log
  private let configuration: skein_host_config
  private let metrics: skein_host_metrics
  private let async: skein_host_async

  /// A host without services: everything is ignored. For tests of a plug-in's own code.
  static let absent = Host(nil)

  init(_ host: UnsafePointer<skein_host>?) {
    let table = host.map { adopt(UnsafeRawPointer($0), zero: skein_host()) } ?? skein_host()
    func service<Table: BitwiseCopyable>(_ id: String, zero: Table) -> Table {
      guard let get = table.get, let found = get(table.ctx, id) else { return zero }
      return adopt(found, zero: zero)
    }
    context = table.ctx
    log = service(SKEIN_HOST_LOG, zero: skein_host_log())
    configuration = service(SKEIN_HOST_CONFIG, zero: skein_host_config())
    metrics = service(SKEIN_HOST_METRICS, zero: skein_host_metrics())
    async = service(SKEIN_HOST_ASYNC, zero: skein_host_async())
  }

  /// Whether calls can be answered; without it an asynchronous kind is of no use.
  var canComplete: Bool { async.complete != nil }

  func write(_ instance: UInt64, level: Int32, _ message: String) {
    guard let write = log.write else { return }
    lend(message) { write(context, instance, level, $0) }
  }

  /// Borrowed until the instance is destroyed.
  func lookup(_ instance: UInt64, _ key: String) -> UnsafeRawBufferPointer? {
    guard let lookup = configuration.lookup else { return nil }
    var found = skein_bytes()
    let code = lend(key) { lookup(context, instance, $0, &found) }
    return code == 0 ? found.buffer : nil
  }

  func defineMetric(_ instance: UInt64, kind: Int32, name: String, unit: String) -> UInt64 {
    guard let define = metrics.define else { return 0 }
    return lend(name) { name in lend(unit) { define(context, instance, kind, name, $0) } }
  }

  func record(_ metric: UInt64, _ value: Double) {
    guard metric != 0, let record = metrics.record else { return }
    record(context, metric, value)
  }

  /// Ends a call; false when it was over already.
  @discardableResult
  func complete(_ call: skein_call, _ status: skein_status, _ result: [UInt8]) -> Bool {
    guard let complete = async.complete else { return false }
    return lend(result) { complete(context, call, status, $0) } == 0
  }

  func isCancelled(_ call: skein_call) -> Bool {
    guard let isCancelled = async.is_cancelled else { return false }
    return isCancelled(context, call) != 0
  }
}
