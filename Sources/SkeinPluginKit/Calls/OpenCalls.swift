import CSkeinPlugin
import Synchronization

/// The open calls of one instance: each is a task, and ends by exactly one `complete`.
///
/// Calls live in shards by their token, so that the host's threads rarely meet at a lock; under one stand only the table
/// and the making of a task, which runs elsewhere. The host opens at most 1,024 calls an instance and keeps that limit.
final class OpenCalls: Sendable {
  private final class Shard: Sendable {
    let open = Mutex<[skein_call: Task<Void, Never>]>([:])
  }

  /// How many are open, and the host's token of `quiesce` once it has come.
  private struct Count {
    var open = 0
    var quiesce: skein_call?
  }

  let host: Host
  private let shards: [Shard]
  private let count = Mutex(Count())
  private static let shardCount: UInt64 = 16

  init(host: Host) {
    self.host = host
    shards = (0..<Self.shardCount).map { _ in Shard() }
  }

  /// Runs `body` in a task of its own; what it returns or throws completes `call`.
  func run(
    _ call: skein_call, _ deadline: UInt64, _ body: @escaping @Sendable (PluginCall) async throws -> [UInt8]
  ) {
    count.withLock { $0.open += 1 }
    let shard = shard(of: call)
    let context = PluginCall(host: host, token: call, deadlineNanoseconds: deadline)
    // Under the lock, so that the task is in the table before it can end or be cancelled.
    let before = shard.open.withLock { open in
      open.updateValue(
        Task {
          do {
            complete(call, SKEIN_OK, try await body(context))
          } catch {
            complete(call, PluginError(mapping: error).kind.rawValue, [])
          }
        }, forKey: call)
    }
    assert(before == nil, "the host gave token \(call) twice")
  }

  /// Completes at once a call that has no task.
  func refuse(_ call: skein_call, _ status: skein_status) {
    host.complete(call, status, [])
  }

  func cancel(_ call: skein_call) {
    let task = shard(of: call).open.withLock { $0[call] }
    task?.cancel()
  }

  /// Completes `done` once no call is open.
  func quiesce(_ done: skein_call) {
    let isIdle = count.withLock { count in
      guard count.open > 0 else { return true }
      count.quiesce = done
      return false
    }
    if isIdle { host.complete(done, SKEIN_OK, []) }
  }

  private func complete(_ call: skein_call, _ status: skein_status, _ result: [UInt8]) {
    guard shard(of: call).open.withLock({ $0.removeValue(forKey: call) != nil }) else {
      assertionFailure("call \(call) is completed twice")
      return
    }
    if result.count > Self.resultLimit {
      host.complete(call, SKEIN_FAILED, [])
    } else {
      host.complete(call, status, result)
    }
    let done = count.withLock { count -> skein_call? in
      count.open -= 1
      guard count.open == 0, let done = count.quiesce else { return nil }
      count.quiesce = nil
      return done
    }
    if let done { host.complete(done, SKEIN_OK, []) }
  }

  private func shard(of call: skein_call) -> Shard { shards[Int(call % Self.shardCount)] }

  /// Bytes; the host takes no more (skein_host_async.complete).
  private static let resultLimit = 1 << 20
}
