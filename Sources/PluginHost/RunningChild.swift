import CSkeinShims
import Glibc
import NIOCore
import PluginABI
import Synchronization

/// One process, from its start to its burial. Confined to its child's loop, but for `errors`.
final class RunningChild: @unchecked Sendable {
  // Safe between threads: everything that changes belongs to the child's loop.
  let spawned: SpawnedChild
  let errors: ErrorPipe
  var channel: (any Channel)?
  var helloedAt: Int64 = 0
  var isHelloed = false
  var isLoaded = false
  var landlock: UInt32 = 0
  /// The load was refused, in good order.
  var refusal: LoadRefusal?
  /// Why we ended it.
  var verdict: (kind: PluginFaultRecord.Kind, why: String)?
  /// Nobody needs it any more: its end is no fault.
  var isLeaving = false
  var isBuried = false
  var isPinged = false
  /// Since the last look: a child that floods us is ended.
  var frames = 0
  var logLines = 0
  var logSecond: Int64 = 0
  var counts = CallTable.Counts()
  var timers: [Scheduled<Void>] = []

  init(_ spawned: SpawnedChild) {
    self.spawned = spawned
    errors = ErrorPipe(spawned.errors)
  }

  func cancelTimers() {
    for timer in timers { timer.cancel() }
    timers = []
  }

  /// For people: when it was.
  var phase: String {
    if !isHelloed { return "before it was loaded" }
    return isLoaded ? "in service" : "while it was loaded"
  }
}

/// What a child prints: the last 2 KiB are kept, for the day it dies. Never waits.
final class ErrorPipe: Sendable {
  private static let kept = 2_048
  private let state: Mutex<(descriptor: Int32, tail: [UInt8])>

  init(_ descriptor: Int32) { state = Mutex((descriptor, [])) }

  deinit { state.withLock { if $0.descriptor >= 0 { close($0.descriptor) } } }

  /// Takes what is there, at most 64 KiB, so that the pipe does not stay full.
  func drain() {
    state.withLock { state in
      guard state.descriptor >= 0 else { return }
      var chunk = [UInt8](repeating: 0, count: 4_096)
      for _ in 0..<16 {
        let count = chunk.withUnsafeMutableBytes { read(state.descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { return }
        state.tail += chunk[..<count]
        state.tail.removeFirst(max(0, state.tail.count - Self.kept))
      }
    }
  }

  /// Drains and closes.
  func finish() -> String {
    drain()
    return state.withLock { state in
      if state.descriptor >= 0 { close(state.descriptor) }
      state.descriptor = -1
      return String(decoding: state.tail, as: UTF8.self)
    }
  }
}
