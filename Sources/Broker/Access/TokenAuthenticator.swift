import Logging
import NIOCore
package import PluginHost
import PluginPackage
package import SkeinCore
import Synchronization
import Transport
import Wire

/// Where authenticators come from: the plug-in manager, or a test.
package protocol AuthenticatorSource: Sendable {
  /// - Parameter id: `ID@VERSION`.
  func authenticator(
    _ id: String, config: String, usedBy: String
  ) async throws(Fault) -> any AuthenticatorInstance
}

extension PluginManager: AuthenticatorSource {}

/// Judges the tokens of a listener with a plug-in, which is given the table of live tokens as its configuration. A
/// changed table makes a new instance, and the old one ends with its last question.
///
/// **Fails closed**: without an instance, without an answer, or with one that makes no sense, nobody is let in. When a
/// token was revoked and no new instance can be made, the old one is not asked any more.
/// Threading: any thread; `run` once.
final class TokenAuthenticator: CallAuthenticator {
  struct Caller: Hashable, Sendable { var tenant, principal: String }
  /// Told whose tokens are gone; once per change. A closure in a struct of its own, as everywhere behind locks.
  struct Listener: Sendable { var gone: @Sendable (Set<Caller>) -> Void = { _ in } }

  private struct State: Sendable {
    var instance: (any AuthenticatorInstance)?
    var built = TokenRegistry.Snapshot()
    /// Why there is no instance of the newest table.
    var problem: Fault?
    /// The last question found nobody to answer it.
    var unanswered: Fault?
    var listener = Listener()
  }

  let id: String
  private let address: String
  private let registry: TokenRegistry
  private let source: any AuthenticatorSource
  private let time: any TimeSource
  private let metrics: BrokerMetrics
  private let logger: Logger
  private let state = Mutex(State())
  private let exchanges = Atomic<UInt64>(0)
  private let lanes = TopicLanes()
  private static let lane = TopicLanes.Key(tenant: .default, name: "authenticator")

  init(
    id: String, address: String, registry: TokenRegistry, source: any AuthenticatorSource,
    time: any TimeSource, metrics: BrokerMetrics, logger: Logger
  ) {
    self.id = id
    self.address = address
    self.registry = registry
    self.source = source
    self.time = time
    self.metrics = metrics
    self.logger = logger
  }

  /// What is wrong with it now; nil: it answers.
  var problem: Fault? { state.withLock { $0.problem ?? $0.unanswered } }

  func watch(_ gone: @escaping @Sendable (Set<Caller>) -> Void) {
    state.withLock { $0.listener = Listener(gone: gone) }
  }

  // MARK: Questions

  func authenticate(
    _ credential: CallCredential, _ evidence: ConnectionEvidence, deadline: NIODeadline,
    on loop: any EventLoop, _ answer: @escaping @Sendable (Result<CallIdentity, GRPCStatus>) -> Void
  ) {
    guard let instance = state.withLock({ $0.instance }) else {
      metrics.tokensUnjudged.add(1)
      return answer(.failure(.nobodyJudges))
    }
    var peer = PeerEvidence()
    peer.certificates = evidence.certificates
    peer.serverName = evidence.serverName
    peer.address = evidence.address
    peer.tlsExporter = evidence.tlsExporter
    let exchange = exchanges.add(1, ordering: .relaxed).newValue
    instance.step(
      exchange: exchange, mechanism: "bearer", peer: peer, message: credential.token, deadline: deadline,
      on: loop
    ) { result in
      instance.end(exchange: exchange)
      answer(self.judged(result))
    }
  }

  private func judged(_ result: Result<[UInt8], Fault>) -> Result<CallIdentity, GRPCStatus> {
    do throws(Fault) {
      let identity = try CallIdentity(answer: try result.get(), now: time.wallMilliseconds)
      metrics.tokensAccepted.add(1)
      state.withLock { $0.unanswered = nil }
      return .success(identity)
    } catch {
      // All that is wrong with a token is one answer, and all that is wrong with its judge another.
      if error.reason == .tokenInvalid {
        metrics.tokensDenied.add(1)
        state.withLock { $0.unanswered = nil }
        return .failure(.tokenInvalid)
      }
      metrics.tokensUnjudged.add(1)
      let isNew = state.withLock { state in
        defer { state.unanswered = error }
        return state.unanswered?.message != error.message
      }
      if isNew {
        logger.error(
          "authenticator gives no answer; nobody is let in",
          metadata: ["plugin": "\(id)", "listener": "\(address)", "why": "\(error.message)"])
      }
      return .failure(.nobodyJudges)
    }
  }

  // MARK: Instances

  /// Makes an instance of the newest table, unless there is one. Returns when it is in force, or could not be made.
  /// - Parameter anew: also when there is one.
  func refresh(anew: Bool = false) async {
    let wanted = registry.snapshot.version
    try? await lanes.alone(in: Self.lane) {
      let isDone = state.withLock { $0.instance != nil && $0.problem == nil && $0.built.version >= wanted }
      if anew || !isDone { await build() }
    }
  }

  private func build() async {
    let table = registry.snapshot
    do throws(Fault) {
      let made = try await source.authenticator(
        id, config: Self.configuration(table, now: time.wallMilliseconds), usedBy: "listener \(address)")
      let (gone, listener) = state.withLock { state in
        let gone = Self.gone(from: state.built, in: table)
        state.instance = made
        state.built = table
        state.problem = nil
        state.unanswered = nil
        return (gone, state.listener)
      }
      logger.info(
        "authenticator in force", metadata: ["plugin": "\(id)", "tokens": "\(table.tokens.count)"])
      if !gone.isEmpty { listener.gone(gone) }
    } catch {
      let (isNew, gone, listener) = state.withLock { state in
        let isNew = state.problem?.message != error.message
        state.problem = error
        var gone: Set<Caller> = []
        if table.lastRemoval > state.built.version {
          gone = Self.gone(from: state.built, in: table)
          state.instance = nil
        }
        return (isNew, gone, state.listener)
      }
      if isNew {
        logger.error(
          "authenticator cannot be made",
          metadata: ["plugin": "\(id)", "listener": "\(address)", "why": "\(error.message)"])
      }
      if !gone.isEmpty { listener.gone(gone) }
    }
  }

  /// Whose tokens are in the one and not in the other.
  private static func gone(from old: TokenRegistry.Snapshot, in new: TokenRegistry.Snapshot) -> Set<Caller> {
    Set(
      old.tokens.values.filter { new.tokens[$0.id] == nil }.map {
        Caller(tenant: $0.tenant.rawValue, principal: $0.principal)
      })
  }

  /// `{"tokens":[{"id","sha256","tenant","principal","expires_ms"}]}`: hexadecimal digits, names of `a-z 0-9 . _ -` and
  /// numbers, so that nothing needs an escape.
  static func configuration(_ table: TokenRegistry.Snapshot, now: Int64) -> String {
    let rows = table.tokens.values.filter { $0.isLive(at: now) }.sorted { $0.id < $1.id }.map { token in
      let hash = token.secretHash.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
      return
        "{\"id\":\"\(token.id)\",\"sha256\":\"\(hash)\",\"tenant\":\"\(token.tenant.rawValue)\",\"principal\":\"\(token.principal)\",\"expires_ms\":\(token.expiresMilliseconds)}"
    }
    return "{\"tokens\":[\(rows.joined(separator: ","))]}"
  }

  // MARK: Upkeep

  private static let retryPause = Duration.seconds(1)
  /// Rounds between two removals of expired tokens, and after which an instance that does not answer is replaced.
  private static let roundsPerRemoval = 60
  private static let roundsPerReplacement = 5

  /// Makes an instance as soon as that is possible again, until it is cancelled.
  func run() async {
    var round = 0
    while (try? await Task.sleep(for: Self.retryPause, clock: .continuous)) != nil {
      round += 1
      await upkeep(round)
    }
  }

  /// One round of it.
  func upkeep(_ round: Int) async {
    let (mustBuild, isMute) = state.withLock { state in
      (
        state.instance == nil || state.problem != nil || state.built.version < registry.snapshot.version,
        state.unanswered != nil
      )
    }
    if mustBuild {
      await refresh()
    } else if isMute, round % Self.roundsPerReplacement == 0 {
      // Its quarantine may have ended, which the old instance does not learn.
      await refresh(anew: true)
    }
    if round % Self.roundsPerRemoval == 0 { try? await registry.removeExpired() }
  }
}

extension CallIdentity {
  /// What a plug-in answered, believed only as far as it makes sense.
  /// - Throws: `TOKEN_INVALID` for one that has expired, `AUTHENTICATOR_UNAVAILABLE` for what is no answer to a bearer
  ///   token.
  init(answer: [UInt8], now: Int64) throws(Fault) {
    func nonsense(_ what: String) -> Fault {
      Fault(.authenticatorUnavailable, "the authenticator's answer \(what); nobody is let in with it")
    }
    guard let result = try? PluginAuthenticateResult(decoding: SharedBytes(answer)) else {
      throw nonsense("is not an AuthenticateResult")
    }
    guard result.challenge.isEmpty else {
      throw nonsense("is a challenge, which a bearer token does not have")
    }
    let tenant = result.tenant.isEmpty ? TenantName.default.rawValue : result.tenant
    guard Principal.isValid(tenant), Principal.isValid(result.principal) else {
      throw nonsense("names no principal of 1 to 63 of a-z 0-9 . _ -")
    }
    guard result.expiresMs >= 0 else { throw nonsense("ends before 1970") }
    guard result.expiresMs == 0 || result.expiresMs > now else {
      throw Fault(.tokenInvalid, "expired")
    }
    self.init(
      tenant: tenant, principal: result.principal, groups: result.groups,
      expiresMilliseconds: result.expiresMs == 0 ? nil : result.expiresMs)
  }
}

extension GRPCStatus {
  fileprivate static let tokenInvalid = GRPCStatus(
    Fault(
      .tokenInvalid,
      "this listener takes calls with exactly one `authorization: Bearer …` whose token is known and has not expired; make one with `skein token create`"
    ))
  fileprivate static let nobodyJudges = GRPCStatus(
    Fault(
      .authenticatorUnavailable,
      "the listener's authenticator does not answer, and nobody is let in without it; try again, or see Cluster/Health over a client certificate",
      retryAfterMilliseconds: 1_000))
}
