import CSkeinPlugin
import Synchronization

@testable import SkeinPluginKit

/// A host of C tables, as a broker has, that remembers what a plug-in said to it. Lives until the process ends, as the
/// ABI asks.
final class FakeHost: Sendable {
  struct Completion: Sendable, Equatable {
    var call: skein_call
    var status: skein_status
    var result: [UInt8]
  }

  struct State {
    var lines: [String] = []
    var metrics: [String] = []
    var recorded: [UInt64: Double] = [:]
    var completions: [Completion] = []
    var cancelled: Set<skein_call> = []
    var config: [String: [UInt8]] = [:]
    var waiting: [skein_call: CheckedContinuation<Completion, Never>] = [:]
  }

  let state = Mutex(State())
  private let services: Set<String>
  nonisolated(unsafe) private(set) var table: UnsafePointer<skein_host>

  static let everything: Set<String> = [
    SKEIN_HOST_LOG, SKEIN_HOST_CONFIG, SKEIN_HOST_METRICS, SKEIN_HOST_ASYNC,
  ]

  init(services: Set<String> = FakeHost.everything) {
    self.services = services
    let memory = UnsafeMutablePointer<skein_host>.allocate(capacity: 1)
    memory.initialize(to: skein_host())
    table = UnsafePointer(memory)
    memory.pointee.size = UInt32(MemoryLayout<skein_host>.size)
    memory.pointee.abi_minor = SKEIN_ABI_MINOR
    memory.pointee.ctx = Unmanaged.passRetained(self).toOpaque()
    memory.pointee.get = { context, id in
      guard let id, let host = FakeHost.at(context) else { return nil }
      let name = String(cString: id)
      return host.services.contains(name) ? Tables.all[name]?.pointer : nil
    }
  }

  static func at(_ context: UnsafeMutableRawPointer?) -> FakeHost? {
    context.map { Unmanaged<FakeHost>.fromOpaque($0).takeUnretainedValue() }
  }

  /// The completion of a call, as soon as it is there.
  func completion(of call: skein_call) async -> Completion {
    await withCheckedContinuation { continuation in
      let found = state.withLock { state -> Completion? in
        if let found = state.completions.first(where: { $0.call == call }) { return found }
        state.waiting[call] = continuation
        return nil
      }
      if let found { continuation.resume(returning: found) }
    }
  }

  func completions(of call: skein_call) -> Int {
    state.withLock { $0.completions.count { $0.call == call } }
  }

  fileprivate func complete(_ completion: Completion) -> Int32 {
    let (isLate, waiting) = state.withLock { state in
      let isLate = state.completions.contains { $0.call == completion.call }
      state.completions.append(completion)
      return (isLate, state.waiting.removeValue(forKey: completion.call))
    }
    waiting?.resume(returning: completion)
    return isLate ? 1 : 0
  }
}

/// The services' tables; `@unchecked Sendable`: written once.
private struct Tables: @unchecked Sendable {
  let pointer: UnsafeRawPointer

  private init<Table: BitwiseCopyable>(_ table: Table) {
    let memory = UnsafeMutablePointer<Table>.allocate(capacity: 1)
    memory.initialize(to: table)
    pointer = UnsafeRawPointer(memory)
  }

  static let all: [String: Tables] = [
    SKEIN_HOST_LOG: Tables(
      skein_host_log(size: 16, _pad: 0) { context, _, level, message in
        FakeHost.at(context)?.state.withLock { $0.lines.append("\(level) \(message.text)") }
      }),
    SKEIN_HOST_CONFIG: Tables(
      skein_host_config(size: 16, _pad: 0) { context, _, key, out in
        guard let value = FakeHost.at(context)?.state.withLock({ $0.config[key.text] }) else { return 1 }
        // Lives until `destroy`; here for ever.
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, value.count))
        memory.initialize(from: value, count: value.count)
        out?.pointee = skein_bytes(ptr: UnsafePointer(memory), len: value.count)
        return 0
      }),
    SKEIN_HOST_METRICS: Tables(
      skein_host_metrics(
        size: 24, _pad: 0,
        define: { context, _, kind, name, unit in
          FakeHost.at(context)?.state.withLock {
            $0.metrics.append("\(kind) \(name.text) \(unit.text)")
            return UInt64($0.metrics.count)
          } ?? 0
        },
        record: { context, metric, value in
          FakeHost.at(context)?.state.withLock { $0.recorded[metric, default: 0] += value }
        })),
    SKEIN_HOST_ASYNC: Tables(
      skein_host_async(
        size: 24, _pad: 0,
        complete: { context, call, status, result in
          FakeHost.at(context)?.complete(.init(call: call, status: status, result: result.copy)) ?? 1
        },
        is_cancelled: { context, call in
          FakeHost.at(context)?.state.withLock { $0.cancelled.contains(call) } == true ? 1 : 0
        })),
  ]
}
