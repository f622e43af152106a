import NIOCore
import SkeinCore

/// Where the calls of one connection show their tokens: asks the authenticator once per token, keeps calls
/// waiting meanwhile, remembers the answer. What ends it again is in `AuthenticationDesk+End`.
///
/// A token: asking → valid → (rechecking → valid)* → gone; gone from anywhere. Each question has a number, so that
/// a late or second answer is not taken for another's.
///
/// `@unchecked Sendable`: confined to the connection's loop.
final class AuthenticationDesk: @unchecked Sendable {
  enum State {
    /// First question; its calls wait.
    case asking
    case valid(CallIdentity)
    /// It was good, and is asked about again: running calls go on, new ones wait.
    case rechecking(CallIdentity, since: NIODeadline)
  }

  struct Entry {
    let credential: CallCredential
    var state = State.asking
    /// The open question; nil: none.
    var question: UInt64?
    var lastUse: UInt64
  }

  let configuration: ServerAuthentication
  let server: ServerState
  var entries: [CallCredential.Key: Entry] = [:]
  private(set) var isAuthenticated = false
  var expiryTask: Scheduled<Void>?
  private var timeoutTask: Scheduled<Void>?
  private var refusals: TokenBucket
  private var questions: UInt64 = 0
  private var uses: UInt64 = 0
  private var evidence: ConnectionEvidence?

  init(_ configuration: ServerAuthentication, server: ServerState, now: NIODeadline) {
    self.configuration = configuration
    self.server = server
    let limits = configuration.limits
    refusals = TokenBucket(burst: limits.refusalBurst, perSecond: limits.refusalsPerSecond, now: now)
  }

  // MARK: The connection

  /// What a connection begins with.
  func openingLimits(_ limits: TransportLimits) -> TransportLimits {
    var small = limits
    small.streamWindowBytes = min(small.streamWindowBytes, configuration.limits.windowBytes)
    small.connectionWindowBytes = min(small.connectionWindowBytes, configuration.limits.windowBytes)
    small.maxConcurrentCalls = min(small.maxConcurrentCalls, configuration.limits.maxCalls)
    return small
  }

  func opened(_ connection: Connection) {
    // What a certificate says counts as evidence, not as a name.
    connection.peer.subjectAlternativeURIs = []
    connection.peer.commonName = nil
    connection.unreleasedLimit = 0
    timeoutTask = connection.eventLoop.scheduleTask(in: configuration.limits.authenticationTimeout) {
      guard !self.isAuthenticated, connection.phase == .open else { return }
      connection.report(.authenticationRefused, "no valid token came in time")
      connection.shutDown("no valid token came in time")
    }
  }

  func ended() {
    timeoutTask?.cancel()
    expiryTask?.cancel()
    entries = [:]
  }

  /// The first token is good: the limits of strangers no longer apply.
  private func authenticated(_ connection: Connection) {
    guard !isAuthenticated else { return }
    isAuthenticated = true
    timeoutTask?.cancel()
    (connection.role as? ServerRole)?.handshakeEnded()
    connection.session?.raise(to: connection.limits)
    connection.unreleasedLimit = connection.limits.maxUnreleasedBytes
    connection.repayCredit()
    connection.setNeedsPump()
  }

  // MARK: Calls

  /// A call that is attached to its stream. It gets a handler, waits, or is refused.
  func admit(_ call: Call, authorization: [[UInt8]], on connection: Connection) {
    guard let credential = CallCredential(authorization: authorization) else {
      countRefusal("no well-formed bearer token", connection)
      return refuse(call, .credentialInvalid, connection)
    }
    let key = credential.key
    if entries[key] == nil || isExpired(key) {
      entries[key] = nil
      guard makeRoom(connection) else {
        return refuse(call, .tooManyTokens(configuration.limits.maxTokens), connection)
      }
      entries[key] = Entry(credential: credential, lastUse: uses)
    }
    uses += 1
    entries[key]?.lastUse = uses
    call.gate = CallGate(key: key, budget: server.heldBudget)
    guard let entry = entries[key] else { return }
    if case .valid(let identity) = entry.state {
      begin(call, identity, connection)
    } else if entry.question == nil {
      ask(key, connection)
    }
  }

  private func isExpired(_ key: CallCredential.Key) -> Bool {
    guard case .valid(let identity)? = entries[key]?.state, let end = identity.expiresMilliseconds else {
      return false
    }
    return end <= configuration.wallMilliseconds()
  }

  private func makeRoom(_ connection: Connection) -> Bool {
    guard entries.count >= configuration.limits.maxTokens else { return true }
    let used = Set(connection.calls.values.compactMap { $0.gate?.key })
    let idle = entries.filter { $0.value.question == nil && !used.contains($0.key) }
    guard let oldest = idle.min(by: { $0.value.lastUse < $1.value.lastUse }) else { return false }
    entries[oldest.key] = nil
    return true
  }

  // MARK: Questions

  /// Asks the authenticator about a token.
  func ask(_ key: CallCredential.Key, _ connection: Connection) {
    guard let credential = entries[key]?.credential else { return }
    questions += 1
    let number = questions
    let epoch = server.credentialEpoch
    entries[key]?.question = number
    let deadline = connection.eventLoop.now + configuration.limits.answerTimeout
    // The host's own clock, whatever the authenticator makes of its deadline.
    let timer = connection.eventLoop.scheduleTask(deadline: deadline) {
      self.answered(key, number, epoch, .failure(.authenticatorLate), connection)
    }
    let known = evidence ?? connection.tls.evidence(remoteAddress: connection.remoteAddress)
    evidence = known
    configuration.authenticator.authenticate(
      credential, known, deadline: deadline, on: connection.eventLoop
    ) { answer in
      @Sendable func take() {
        timer.cancel()
        self.answered(key, number, epoch, answer, connection)
      }
      if connection.eventLoop.inEventLoop { take() } else { connection.eventLoop.execute(take) }
    }
  }

  private func answered(
    _ key: CallCredential.Key, _ number: UInt64, _ epoch: Int, _ answer: Result<CallIdentity, GRPCStatus>,
    _ connection: Connection
  ) {
    guard connection.phase == .open, let entry = entries[key], entry.question == number else { return }
    entries[key]?.question = nil
    switch answer {
    case .success(let identity):
      // The tokens have changed since it was asked: the answer may be of yesterday.
      if epoch != server.credentialEpoch { return ask(key, connection) }
      if let end = identity.expiresMilliseconds, end <= configuration.wallMilliseconds() {
        return refused(key, .credentialInvalid, connection)
      }
      entries[key]?.state = .valid(identity)
      authenticated(connection)
      for call in calls(of: key, connection) where call.isHeld { begin(call, identity, connection) }
      watchExpiry(connection)
    case .failure(let status):
      refused(key, status, connection)
    }
    finishTurn(connection)
  }

  private func refused(_ key: CallCredential.Key, _ status: GRPCStatus, _ connection: Connection) {
    let isLate = status.code == .unavailable
    if !isLate { countRefusal("a token was refused", connection) }
    guard connection.phase == .open else { return }
    for call in calls(of: key, connection) where call.isHeld { refuse(call, status, connection) }
    if isLate, case .rechecking(_, let since)? = entries[key]?.state,
      connection.eventLoop.now - since < configuration.limits.recheckWindow
    {
      // Nobody could say. Its running calls get a little more time.
      _ = connection.eventLoop.scheduleTask(in: configuration.limits.recheckPause) {
        guard connection.phase == .open, case .rechecking? = self.entries[key]?.state,
          self.entries[key]?.question == nil
        else { return }
        self.ask(key, connection)
        self.finishTurn(connection)
      }
      return
    }
    forget(key, status, connection)
  }

  /// Calls with this token, in the order in which they came.
  func calls(of key: CallCredential.Key, _ connection: Connection) -> [Call] {
    connection.calls.values.filter { $0.gate?.key == key }.sorted { $0.stream < $1.stream }
  }

  private func begin(_ call: Call, _ identity: CallIdentity, _ connection: Connection) {
    guard !call.isClosed, let role = connection.role as? ServerRole else { return }
    call.peer.bearer = identity
    if let end = identity.expiresMilliseconds,
      end - graceMilliseconds(connection) <= configuration.wallMilliseconds()
    {
      // So near the end nobody is asked to come back with the same token.
      call.gate?.wasAskedToEnd = true
    }
    role.begin(call, on: connection)
    connection.session?.raise(call.stream, to: connection.limits)
    connection.setNeedsPump()
    release(call, until: connection.eventLoop.now + connection.limits.budgetWait, connection)
  }

  private func release(_ call: Call, until: NIODeadline, _ connection: Connection) {
    guard connection.phase == .open, !call.isClosed, !call.releaseHeld(connection.budget) else { return }
    guard connection.eventLoop.now < until else {
      return call.abandon(
        GRPCStatus(
          .resourceExhausted, "the memory budget for messages is spent; try again later", cause: .noMemory))
    }
    _ = connection.eventLoop.scheduleTask(in: .milliseconds(2)) {
      self.release(call, until: until, connection)
      self.finishTurn(connection)
    }
  }

  func refuse(_ call: Call, _ status: GRPCStatus, _ connection: Connection) {
    call.finish((connection.role as? ServerRole)?.explained(status) ?? status)
  }

  private func countRefusal(_ what: String, _ connection: Connection) {
    connection.report(.authenticationRefused, what)
    if !refusals.take(connection.eventLoop.now) {
      connection.fail(.abuse, "too many calls without a valid token")
    }
  }

  /// What a read of the socket does at its end.
  func finishTurn(_ connection: Connection) {
    guard connection.phase == .open, !connection.isReading else { return }
    connection.tellIdle()
    connection.pump()
  }
}

extension GRPCStatus {
  /// One sentence for all that is wrong with a token: which it is would help to guess.
  static let credentialInvalid = GRPCStatus(
    .unauthenticated,
    "this listener takes calls with exactly one `authorization: Bearer …` whose token is known and has not expired; make one with `skein token create`",
    cause: .credentialInvalid)
  static let authenticatorLate = GRPCStatus(
    .unavailable, "the listener's authenticator did not answer in time; nobody is let in without it",
    cause: .authenticatorUnavailable)

  fileprivate static func tooManyTokens(_ limit: Int) -> GRPCStatus {
    GRPCStatus(
      .resourceExhausted, "calls with \(limit) tokens run on this connection; open another one for more",
      cause: .noMemory)
  }
}
