import Glibc
import NIOCore
import SkeinCore
import Synchronization

@testable import Transport

/// Collects what a client call hears and lets a test wait for it without polling.
final class Recorder: CallHandler, Sendable {
  struct State {
    var messages: [SharedBytes] = []
    var bytes = 0
    var compressed: [Bool] = []
    var headers: Metadata?
    var status: GRPCStatus?
    var trailers = Metadata()
    var closedCount = 0
    var writableCount = 0
    var idleCount = 0
    var waiters: [(@Sendable (borrowing State) -> Bool, CheckedContinuation<Void, Never>)] = []
  }
  private let state = Mutex<State>(State())
  private let call: Call
  private let keeps: Bool
  private let releases: Bool

  /// - Parameters:
  ///   - keeps: remember the messages (otherwise only their bytes).
  ///   - releases: return the credit at once.
  init(_ call: Call, keeps: Bool = true, releases: Bool = true) {
    self.call = call
    self.keeps = keeps
    self.releases = releases
  }

  func receivedHeaders(_ metadata: Metadata) { change { $0.headers = metadata } }
  func received(_ message: SharedBytes) {
    change {
      if keeps { $0.messages.append(message) }
      $0.bytes += message.count
      if keeps { $0.compressed.append(call.receivedCompressed) }
    }
    if releases { call.release(message.count) }
  }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    change {
      $0.status = status
      $0.trailers = trailers
      $0.closedCount += 1
    }
  }
  func writable() { change { $0.writableCount += 1 } }
  func readIdle() { change { $0.idleCount += 1 } }

  private func change(_ body: (inout State) -> Void) {
    let ready = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      body(&state)
      var ready: [CheckedContinuation<Void, Never>] = []
      var waiting: [(@Sendable (borrowing State) -> Bool, CheckedContinuation<Void, Never>)] = []
      for waiter in state.waiters {
        if waiter.0(state) { ready.append(waiter.1) } else { waiting.append(waiter) }
      }
      state.waiters = waiting
      return ready
    }
    ready.forEach { $0.resume() }
  }

  func wait(until condition: @escaping @Sendable (borrowing State) -> Bool) async {
    await withCheckedContinuation { continuation in
      let now = state.withLock { state in
        if condition(state) { return true }
        state.waiters.append((condition, continuation))
        return false
      }
      if now { continuation.resume() }
    }
  }

  func finished() async -> GRPCStatus {
    await wait { $0.status != nil }
    return state.withLock { $0.status! }
  }

  var messages: [SharedBytes] { state.withLock { $0.messages } }
  var compressed: [Bool] { state.withLock { $0.compressed } }
  var bytes: Int { state.withLock { $0.bytes } }
  var headers: Metadata? { state.withLock { $0.headers } }
  var trailers: Metadata { state.withLock { $0.trailers } }
  var code: StatusCode? { state.withLock { $0.status?.code } }
  var closedCount: Int { state.withLock { $0.closedCount } }
}

extension GRPCConnection {
  /// Opens a call with a recorder; `body` runs on the loop before anything is sent.
  func record(
    _ path: String, metadata: Metadata = Metadata(), deadline: NIODeadline? = nil, keeps: Bool = true,
    releases: Bool = true, _ body: @escaping @Sendable (Call) -> Void
  ) -> (Call, Recorder) {
    let box = Mutex<Recorder?>(nil)
    let call = try! eventLoop.submit {
      self.open(path: path, metadata: metadata, deadline: deadline) { call in
        let recorder = Recorder(call, keeps: keeps, releases: releases)
        box.withLock { $0 = recorder }
        body(call)
        return recorder
      }
    }.wait()
    return (call, box.withLock { $0! })
  }
}

/// Waits for a condition that another thread brings about; fails loudly after ten seconds.
func eventually(_ what: String, _ condition: () -> Bool) async -> Bool {
  for _ in 0..<2000 {
    if condition() { return true }
    try? await Task.sleep(for: .milliseconds(5))
  }
  print("never happened: \(what)")
  return false
}

extension NIODeadline {
  /// Seconds since 1970, for comparing with a certificate.
  static var wallSeconds: Double {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Double(now.tv_sec)
  }
}
