import NIOCore
import SkeinCore
import Synchronization

@testable import Transport

/// Answers from a table, or when it is told to, or never.
final class StubAuthenticator: CallAuthenticator {
  typealias Answer = @Sendable (Result<CallIdentity, GRPCStatus>) -> Void
  struct State {
    var known: [String: CallIdentity] = [:]
    var isHeld = false
    var isDown = false
    var waiting: [(String, Answer, any EventLoop)] = []
    var asked: [String] = []
    var evidence: ConnectionEvidence?
  }
  private let state = Mutex(State())

  init(_ known: [String: CallIdentity] = ["good": CallIdentity(tenant: "default", principal: "ann")]) {
    state.withLock { $0.known = known }
  }

  func authenticate(
    _ credential: CallCredential, _ evidence: ConnectionEvidence, deadline: NIODeadline,
    on loop: any EventLoop, _ answer: @escaping Answer
  ) {
    let token = String(decoding: credential.token, as: UTF8.self)
    let isHeld = state.withLock { state in
      state.asked.append(token)
      state.evidence = evidence
      if state.isHeld { state.waiting.append((token, answer, loop)) }
      return state.isHeld
    }
    if !isHeld { answer(judge(token)) }
  }

  private func judge(_ token: String) -> Result<CallIdentity, GRPCStatus> {
    state.withLock { state in
      if state.isDown { return .failure(GRPCStatus(.unavailable, "the authenticator is down")) }
      return state.known[token].map { .success($0) } ?? .failure(.credentialInvalid)
    }
  }

  /// Answers what waits; `stale` answers by what was true when it was asked.
  func answerAll(_ judged: (String) -> Result<CallIdentity, GRPCStatus>? = { _ in nil }) {
    let waiting = state.withLock { state in
      defer { state.waiting = [] }
      return state.waiting
    }
    for (token, answer, loop) in waiting {
      let result = judged(token) ?? judge(token)
      if loop.inEventLoop { answer(result) } else { loop.execute { answer(result) } }
    }
  }

  func set(_ token: String, _ identity: CallIdentity?) { state.withLock { $0.known[token] = identity } }
  func hold(_ held: Bool) { state.withLock { $0.isHeld = held } }
  func down(_ down: Bool) { state.withLock { $0.isDown = down } }
  var asked: [String] { state.withLock { $0.asked } }
  var waiting: Int { state.withLock { $0.waiting.count } }
  var evidence: ConnectionEvidence? { state.withLock { $0.evidence } }
}
