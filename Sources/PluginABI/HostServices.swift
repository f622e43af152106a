package import CSkeinPlugin
internal import Synchronization

/// What one loaded plug-in gets from its host: the tables of skein_plugin.h, and what stands behind them.
///
/// Made once per image and never freed: a plug-in may call a host function at any time, even after `destroy`.
/// Any thread.
package final class HostServices: @unchecked Sendable {
  // Safe between threads: tables are written only in init; the rest guards itself.
  package let log = LogRing()
  package let metrics = MetricTable()
  package let calls = CallTable()
  /// Ids that are answered; the others are NULL.
  package let offered: Set<String>
  private let configs = Mutex<[UInt64: ConfigTable]>([:])
  private let completion = Mutex<Completion?>(nil)
  private let wake: Wake?

  private let host: UnsafeMutablePointer<skein_host>
  private let logTable: UnsafeMutablePointer<skein_host_log>
  private let configTable: UnsafeMutablePointer<skein_host_config>
  private let metricsTable: UnsafeMutablePointer<skein_host_metrics>
  private let asyncTable: UnsafeMutablePointer<skein_host_async>

  /// A first completion of an open call, its bytes valid inside only; called in the plug-in's thread.
  package struct Completion: Sendable {
    let take: @Sendable (UInt64, Int32, UnsafeRawBufferPointer) -> Void
    package init(_ take: @escaping @Sendable (UInt64, Int32, UnsafeRawBufferPointer) -> Void) {
      self.take = take
    }
  }

  /// Called after a line was put into `log`, in the plug-in's thread: must not wait.
  package struct Wake: Sendable {
    let call: @Sendable () -> Void
    package init(_ call: @escaping @Sendable () -> Void) { self.call = call }
  }

  /// Every service that this host has.
  package static let all: Set<String> = [
    SKEIN_HOST_LOG, SKEIN_HOST_CONFIG, SKEIN_HOST_METRICS, SKEIN_HOST_ASYNC,
  ]

  package init(offered: Set<String> = HostServices.all, wake: Wake? = nil) {
    self.offered = offered
    self.wake = wake
    host = .allocate(capacity: 1)
    logTable = .allocate(capacity: 1)
    configTable = .allocate(capacity: 1)
    metricsTable = .allocate(capacity: 1)
    asyncTable = .allocate(capacity: 1)
    let context = Unmanaged.passRetained(self).toOpaque()
    logTable.initialize(to: Self.makeLogTable())
    configTable.initialize(to: Self.makeConfigTable())
    metricsTable.initialize(to: Self.makeMetricsTable())
    asyncTable.initialize(to: Self.makeAsyncTable())
    host.initialize(
      to: skein_host(
        size: UInt32(MemoryLayout<skein_host>.size), abi_minor: SKEIN_ABI_MINOR, ctx: context,
        get: { context, id in
          guard let id, let services = HostServices.at(context) else { return nil }
          return services.table(String(cString: id))
        }))
  }

  /// For `skein_plugin_entry` and `create`; valid for ever.
  package var pointer: UnsafePointer<skein_host> { UnsafePointer(host) }

  package func onCompletion(_ take: Completion) { completion.withLock { $0 = take } }

  package func setConfig(_ table: ConfigTable?, instance: UInt64) {
    configs.withLock { $0[instance] = table }
  }

  private func table(_ id: String) -> UnsafeRawPointer? {
    guard offered.contains(id) else { return nil }
    return switch id {
    case SKEIN_HOST_LOG: UnsafeRawPointer(logTable)
    case SKEIN_HOST_CONFIG: UnsafeRawPointer(configTable)
    case SKEIN_HOST_METRICS: UnsafeRawPointer(metricsTable)
    case SKEIN_HOST_ASYNC: UnsafeRawPointer(asyncTable)
    default: nil
    }
  }

  /// The services behind a `ctx`: never freed, so the pointer is good whenever it comes.
  private static func at(_ context: UnsafeMutableRawPointer?) -> HostServices? {
    context.map { Unmanaged<HostServices>.fromOpaque($0).takeUnretainedValue() }
  }

  // MARK: The tables

  private static func makeLogTable() -> skein_host_log {
    skein_host_log(
      size: UInt32(MemoryLayout<skein_host_log>.size), _pad: 0,
      write: { context, instance, level, message in
        guard let services = HostServices.at(context) else { return }
        let known = (SKEIN_LOG_DEBUG...SKEIN_LOG_ERROR).contains(level) ? level : SKEIN_LOG_INFO
        if services.log.write(instance: instance, level: known, message: message.buffer) {
          services.wake?.call()
        }
      })
  }

  private static func makeConfigTable() -> skein_host_config {
    skein_host_config(
      size: UInt32(MemoryLayout<skein_host_config>.size), _pad: 0,
      lookup: { context, instance, key, out in
        guard let services = HostServices.at(context), let out,
          let table = services.configs.withLock({ $0[instance] }), let value = table.value(of: key.buffer)
        else { return 1 }
        // The table lives until `destroy`, as the contract says: `configs` holds it.
        out.pointee = skein_bytes(value)
        return 0
      })
  }

  private static func makeMetricsTable() -> skein_host_metrics {
    skein_host_metrics(
      size: UInt32(MemoryLayout<skein_host_metrics>.size), _pad: 0,
      define: { context, instance, kind, name, unit in
        guard let services = HostServices.at(context), name.len <= 64, unit.len <= 16 else { return 0 }
        return services.metrics.define(
          instance: instance, kind: kind, name: String(decoding: name.buffer, as: UTF8.self),
          unit: String(decoding: unit.buffer, as: UTF8.self))
      },
      record: { context, metric, value in HostServices.at(context)?.metrics.record(metric, value) })
  }

  private static func makeAsyncTable() -> skein_host_async {
    skein_host_async(
      size: UInt32(MemoryLayout<skein_host_async>.size), _pad: 0,
      complete: { context, call, status, result in
        guard let services = HostServices.at(context) else { return 1 }
        let bytes = result.buffer
        guard services.calls.complete(call, status: status, resultLength: bytes.count) else { return 1 }
        let take = services.completion.withLock { $0 }
        // What is too long is no result: the host sees a failure, and the count says why.
        if bytes.count > CallTable.resultLimit {
          take?.take(call, SKEIN_FAILED, UnsafeRawBufferPointer(start: nil, count: 0))
        } else {
          take?.take(call, (0...6).contains(status) ? status : SKEIN_FAILED, bytes)
        }
        return 0
      },
      is_cancelled: { context, call in HostServices.at(context)?.calls.isCancelled(call) ?? true ? 1 : 0 })
  }
}

extension skein_bytes {
  package init(_ bytes: UnsafeRawBufferPointer) {
    self.init(ptr: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), len: bytes.count)
  }

  /// Nothing if `ptr` is NULL, whatever `len` says.
  package var buffer: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: ptr, count: ptr == nil ? 0 : Int(clamping: len))
  }
}
