import CSkeinPlugin
import Foundation
import Glibc

/// The host as a check wants it: which services are there, how long their tables are; and what the plug-in asked of
/// them, kept for the check to look at.
///
/// Any thread. Never freed: a plug-in may call its host until the process ends.
///
/// `@unchecked Sendable`: everything that changes is read and written under the lock `condition`; the tables are
/// written once, in `init`.
final class TestHost: @unchecked Sendable {
  struct Shape {
    /// Ids of the services that it has.
    var services: Set<String> = [hostLog, hostConfig, hostMetrics, hostAsync]
    /// Bytes that each table is longer (new functions that this plug-in cannot know) or shorter than the header's.
    var growth = 0
  }

  struct Completion {
    var status: skein_status
    var result: [UInt8]
    /// CLOCK_MONOTONIC, nanoseconds.
    var time: UInt64
  }

  static let hostLog = "skein.host.log/1"
  static let hostConfig = "skein.host.config/1"
  static let hostMetrics = "skein.host.metrics/1"
  static let hostAsync = "skein.host.async/1"
  static let maximumKept = 10_000

  let condition = NSCondition()
  private var nextCall: UInt64 = 1
  private var open: Set<UInt64> = []
  private var cancelled: Set<UInt64> = []
  private var ended: [UInt64: Completion] = [:]
  private(set) var duplicates: [UInt64] = []
  private(set) var unknown: [UInt64] = []
  private(set) var oversized = 0
  private(set) var lines: [[UInt8]] = []
  private(set) var lineCount = 0
  private(set) var lineBytes = 0
  private(set) var badLines = 0
  private var configs: [UInt64: [String: any Sendable]] = [:]
  private var lookups: [UInt64: [UnsafeMutableRawPointer]] = [:]
  private var series: UInt64 = 0
  private var tables: [String: UnsafeRawPointer] = [:]
  private(set) var host: UnsafePointer<skein_host>?

  init(_ shape: Shape = Shape()) {
    let log = skein_host_log(
      size: 0, _pad: 0,
      write: { context, _, level, message in TestHost.at(context)?.log(level, message) })
    let config = skein_host_config(
      size: 0, _pad: 0,
      lookup: { context, instance, key, out in TestHost.at(context)?.lookup(instance, key, out) ?? 1 })
    let metrics = skein_host_metrics(
      size: 0, _pad: 0,
      define: { context, _, kind, name, _ in TestHost.at(context)?.define(kind, name) ?? 0 },
      record: { _, _, _ in })
    let async = skein_host_async(
      size: 0, _pad: 0,
      complete: { context, call, status, result in TestHost.at(context)?.complete(call, status, result) ?? 1
      },
      is_cancelled: { context, call in TestHost.at(context)?.isCancelled(call) ?? 1 })
    tables[Self.hostLog] = Self.place(log, growth: shape.growth)
    tables[Self.hostConfig] = Self.place(config, growth: shape.growth)
    tables[Self.hostMetrics] = Self.place(metrics, growth: shape.growth)
    tables[Self.hostAsync] = Self.place(async, growth: shape.growth)
    tables = tables.filter { shape.services.contains($0.key) }
    let table = skein_host(
      size: 0, abi_minor: 0, ctx: Unmanaged.passRetained(self).toOpaque(),
      get: { context, id in
        guard let id else { return nil }
        return TestHost.at(context)?.tables[String(cString: id)]
      })
    // `get` is the last function: the host itself can only be longer.
    host = Self.place(table, growth: max(0, shape.growth))?.assumingMemoryBound(to: skein_host.self)
  }

  private static func at(_ context: UnsafeMutableRawPointer?) -> TestHost? {
    context.map { Unmanaged<TestHost>.fromOpaque($0).takeUnretainedValue() }
  }

  /// Puts a table where its end is the end of a page, with nothing readable behind it: a plug-in that reads more than
  /// `size` says dies there. What a longer table has more is filled with addresses that nobody may call.
  private static func place<Table>(_ table: Table, growth: Int) -> UnsafeRawPointer? {
    // The size itself is always there.
    let size = max(8, MemoryLayout<Table>.size + growth)
    guard let guarded = GuardedBuffer(count: size) else { return nil }
    withUnsafeBytes(of: table) {
      guarded.base.copyMemory(from: $0.baseAddress!, byteCount: min(size, $0.count))
    }
    if growth > 0 { memset(guarded.base + MemoryLayout<Table>.size, 0xee, growth) }
    guarded.base.storeBytes(of: UInt32(size), as: UInt32.self)
    guarded.makeReadOnly()
    return UnsafeRawPointer(guarded.base)
  }

  // MARK: Calls

  func newCall() -> skein_call {
    condition.withLock {
      defer { nextCall += 1 }
      open.insert(nextCall)
      return nextCall
    }
  }

  func cancel(_ call: skein_call) { condition.withLock { _ = cancelled.insert(call) } }

  func completion(of call: skein_call) -> Completion? { condition.withLock { ended[call] } }

  var openCalls: Int { condition.withLock { open.count } }

  /// Waits until all of `calls` are over, or for `seconds`. Returns those that are not.
  func wait(for calls: [skein_call], seconds: Double) -> [skein_call] {
    let limit = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    defer { condition.unlock() }
    while !calls.allSatisfy({ ended[$0] != nil }) {
      if !condition.wait(until: limit) { break }
    }
    return calls.filter { ended[$0] == nil }
  }

  /// Forgets the results of earlier calls.
  func forgetCalls() { condition.withLock { ended = [:] } }

  private func complete(_ call: skein_call, _ status: skein_status, _ result: skein_bytes) -> Int32 {
    let time = Monotonic.now()
    condition.lock()
    defer { condition.unlock() }
    guard open.remove(call) != nil else {
      if call > 0, call < nextCall { duplicates.append(call) } else { unknown.append(call) }
      return 1
    }
    var bytes: [UInt8] = []
    if result.len > 1 << 20 {
      oversized += 1
    } else if let start = result.ptr {
      bytes = Array(UnsafeBufferPointer(start: start, count: result.len))
    }
    ended[call] = Completion(status: status, result: bytes, time: time)
    condition.broadcast()
    return 0
  }

  private func isCancelled(_ call: skein_call) -> Int32 {
    condition.withLock { cancelled.contains(call) || !open.contains(call) ? 1 : 0 }
  }

  // MARK: Log, configuration, metrics

  private func log(_ level: Int32, _ message: skein_bytes) {
    condition.withLock {
      lineCount += 1
      lineBytes += message.len
      guard (0...3).contains(level), message.ptr != nil || message.len == 0 else { return badLines += 1 }
      guard lines.count < Self.maximumKept, let start = message.ptr else { return }
      lines.append(Array(UnsafeBufferPointer(start: start, count: min(message.len, 4_096))))
    }
  }

  func setConfig(_ json: String, of instance: UInt64) {
    let object = (try? JSONSerialization.jsonObject(with: Data(json.utf8))) as? [String: any Sendable]
    condition.withLock { configs[instance] = object }
  }

  func forgetInstance(_ instance: UInt64) {
    condition.withLock {
      configs[instance] = nil
      for pointer in lookups.removeValue(forKey: instance) ?? [] { free(pointer) }
    }
  }

  private func lookup(
    _ instance: UInt64, _ key: skein_bytes, _ out: UnsafeMutablePointer<skein_bytes>?
  ) -> Int32 {
    guard let start = key.ptr, let out else { return 1 }
    let path = String(decoding: UnsafeBufferPointer(start: start, count: key.len), as: UTF8.self)
    condition.lock()
    defer { condition.unlock() }
    var value: Any? = configs[instance]
    for part in path.split(separator: ".", omittingEmptySubsequences: false) {
      value = (value as? [String: Any])?[String(part)]
    }
    guard let value else { return 1 }
    guard let bytes = Self.bytes(of: value), let copy = malloc(max(1, bytes.count)) else { return 1 }
    bytes.withUnsafeBytes {
      if let base = $0.baseAddress { copy.copyMemory(from: base, byteCount: $0.count) }
    }
    lookups[instance, default: []].append(copy)
    out.pointee = skein_bytes(ptr: UnsafePointer(copy.assumingMemoryBound(to: UInt8.self)), len: bytes.count)
    return 0
  }

  private static func bytes(of value: Any) -> [UInt8]? {
    if let text = value as? String { return Array(text.utf8) }
    if let object = value as? [String: Any], object.count == 1, let path = object["secret_file"] as? String {
      return (try? Data(contentsOf: URL(fileURLWithPath: path))).map(Array.init)
    }
    return (try? JSONSerialization.data(withJSONObject: value, options: [.fragmentsAllowed, .sortedKeys]))
      .map(Array.init)
  }

  private func define(_ kind: Int32, _ name: skein_bytes) -> UInt64 {
    guard (0...2).contains(kind), name.ptr != nil, (1...64).contains(name.len) else { return 0 }
    return condition.withLock {
      series += 1
      return series
    }
  }
}
