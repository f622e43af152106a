package import NIOCore
package import SkeinCore
import Synchronization

/// Calls to one service over a pool of connections that are opened when they are needed, share the calls
/// evenly, and come back after they broke.
///
/// ```swift
/// let channel = GRPCChannel(
///   ChannelConfiguration(endpoints: [.init(host: "localhost", port: 7600)], tls: tls), group: group,
///   random: random)
/// let answer = try await channel.unary(path: "/p.S/M", message: message, deadline: .now() + .seconds(5))
/// ```
///
/// A call that finds no connection waits while one is being made, and fails at once while the channel backs
/// off after a failure, unless it waits for readiness; then it waits until its deadline. Only what was
/// definitely not processed is tried again (R42). Every verb may be called from any thread.
///
/// **Ownership.** The channel owns its connections: `close()` ends them, and their calls with UNAVAILABLE.
package final class GRPCChannel: Sendable {
  typealias Machine = PoolMachine<GRPCConnection, ConnectionWaiter>

  let configuration: ChannelConfiguration
  private let group: any EventLoopGroup
  private let random: any RandomSource
  private let retryBudget: RetryBudget
  private let state: Mutex<State>

  private struct State {
    var machine: Machine
    var tls: ClientTLS
    var nextID: UInt64 = 0
    var nextEndpoint: Int
    var retryIsScheduled = false

    mutating func newID() -> UInt64 {
      nextID += 1
      return nextID
    }
  }

  package init(_ configuration: ChannelConfiguration, group: any EventLoopGroup, random: any RandomSource) {
    self.configuration = configuration
    self.group = group
    self.random = random
    retryBudget = RetryBudget(limit: configuration.retryBudget)
    let first =
      configuration.endpoints.isEmpty ? 0 : Int(random.next() % UInt64(configuration.endpoints.count))
    state = Mutex(
      State(machine: Machine(configuration), tls: configuration.tls, nextEndpoint: first))
  }

  package var currentState: ChannelState { state.withLock { $0.machine.state(.now()) } }

  // MARK: Verbs

  /// A connection for one call or more: the one with the fewest calls. Its calls are the caller's own, and are
  /// not tried again.
  ///
  /// - Parameter waitsForReady: go on trying until the deadline, whatever fails meanwhile.
  /// - Throws: `ConnectFailure`, `TLSConfigurationError`, `ChannelFailure`, or `CancellationError`. Nothing was
  ///   sent in any of these cases.
  package func connection(
    waitsForReady: Bool = false, deadline: NIODeadline? = nil
  ) async throws -> GRPCConnection {
    let id = state.withLock { $0.newID() }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        acquire(id, waitsForReady: waitsForReady, deadline: deadline) { continuation.resume(with: $0) }
        if Task.isCancelled { give(up: id, CancellationError()) }
      }
    } onCancel: {
      give(up: id, CancellationError())
    }
  }

  /// Opens a call. The handler is made on the loop of its connection; if none can be had it is closed with
  /// UNAVAILABLE or DEADLINE_EXCEEDED, definitely not processed. Never tried again: a stream's handler knows
  /// better what to resend.
  package func open(
    path: String, metadata: Metadata = Metadata(), deadline: NIODeadline? = nil, waitsForReady: Bool = false,
    handler: @escaping @Sendable (Call) -> any CallHandler
  ) {
    let id = state.withLock { $0.newID() }
    acquire(id, waitsForReady: waitsForReady, deadline: deadline) { [group] result in
      switch result {
      case .success(let connection):
        connection.gauge.assign()
        connection.open(path: path, metadata: metadata, deadline: deadline) { call in
          connection.gauge.arrive()
          return handler(call)
        }
      case .failure(let error):
        let loop = group.next()
        let call = Call(
          connection: nil, eventLoop: loop, path: path, metadata: metadata, deadline: deadline,
          peer: PeerIdentity(), isServer: false, limits: TransportLimits())
        loop.execute {
          let made = handler(call)
          guard !call.isClosed else { return }
          call.handler = made
          call.close(GRPCStatus(unsent: error), Metadata())
        }
      }
    }
  }

  /// One request, one response. Tried again, after a jittered wait, when it was definitely not processed, as
  /// long as attempts, deadline and the channel's retry budget allow. Cancelling the task resets the stream.
  ///
  /// - Throws: `RPCFailure` of the last attempt; or, if no connection could be had, what `connection` throws.
  package func unary(
    path: String, message: OutboundMessage, metadata: Metadata = Metadata(), deadline: NIODeadline? = nil,
    waitsForReady: Bool = false, compresses: Bool = false
  ) async throws -> SharedBytes {
    var attempt = 1
    while true {
      let connection = try await connection(waitsForReady: waitsForReady, deadline: deadline)
      let failure: RPCFailure
      do {
        let answer = try await connection.unary(
          path: path, message: message, metadata: metadata, deadline: deadline, compresses: compresses)
        retryBudget.earn()
        return answer
      } catch let error as RPCFailure {
        failure = error
      }
      guard let delay = retryDelay(after: failure.status, attempt: attempt, deadline: deadline) else {
        throw failure
      }
      attempt += 1
      if delay.nanoseconds > 0 { try await Task.sleep(for: .nanoseconds(delay.nanoseconds)) }
    }
  }

  /// How long to wait before the next attempt; nil: there is none.
  private func retryDelay(after status: GRPCStatus, attempt: Int, deadline: NIODeadline?) -> TimeAmount? {
    guard attempt < configuration.maxAttempts, !Task.isCancelled,
      status.isDefinitelyUnprocessed || (status.code == .unavailable && configuration.isDefinite(status)),
      status.code == .unavailable || status.code == .resourceExhausted
    else { return nil }
    // What never left is tried once more at once, on another connection.
    let delay: TimeAmount =
      attempt == 1 && status.isDefinitelyUnprocessed
      ? .zero : configuration.backoff.delay(failures: attempt - 1, random: random.next())
    if let deadline, .now() + delay >= deadline { return nil }
    return retryBudget.take() ? delay : nil
  }

  /// Uses another identity and other roots from now on: new connections have them, those of now take no new
  /// calls and close when their last call has ended.
  package func replace(tls: ClientTLS) {
    let old = state.withLock { state in
      state.tls = tls
      return state.machine.retire()
    }
    for connection in old { connection.closeWhenIdle() }
  }

  /// Closes all connections; calls on them end with UNAVAILABLE, who waits fails.
  package func close() async {
    let (waiting, links) = state.withLock { $0.machine.close() }
    for entry in waiting { entry.waiter.complete(.failure(ChannelFailure.closed)) }
    for link in links { await link.close() }
  }

  // MARK: The pool

  private func acquire(
    _ id: UInt64, waitsForReady: Bool, deadline: NIODeadline?,
    _ complete: @escaping @Sendable (Result<GRPCConnection, any Error>) -> Void
  ) {
    guard !configuration.endpoints.isEmpty else { return complete(.failure(ChannelFailure.noEndpoints)) }
    let loop = group.next()
    let now = NIODeadline.now()
    let (choice, opens, retryAt) = state.withLock { state -> (Machine.Choice, Bool, NIODeadline?) in
      var opens = false
      var retryAt: NIODeadline?
      let choice = state.machine.choose(
        waitsForReady: waitsForReady, now: now, opens: &opens, load: load)
      if case .wait = choice {
        let timer = deadline.map { deadline in
          loop.scheduleTask(deadline: deadline) { self.expire(id) }
        }
        state.machine.enqueue(
          id, waitsForReady: waitsForReady, ConnectionWaiter(complete: complete, timer: timer))
        if !opens, state.machine.connecting == 0 { retryAt = state.machine.retryAt }
      }
      return (choice, opens, retryAt)
    }
    switch choice {
    case .use(let connection): complete(.success(connection))
    case .fail(let error): complete(.failure(error))
    case .wait: break
    }
    if opens { connect() }
    if let retryAt { scheduleRetry(at: retryAt) }
  }

  private func load(_ connection: GRPCConnection) -> (calls: Int, enough: Int) {
    let gauge = connection.gauge
    return (gauge.calls, min(max(1, configuration.callsPerConnection), gauge.maxStreams))
  }

  private func give(up id: UInt64, _ error: any Error) {
    guard let waiter = state.withLock({ $0.machine.dequeue(id) }) else { return }
    waiter.finish(.failure(error))
  }

  private func expire(_ id: UInt64) {
    let (waiter, last) = state.withLock { ($0.machine.dequeue(id), $0.machine.lastFailure) }
    waiter?.finish(.failure(ChannelFailure.deadlinePassed(last: last)))
  }

  /// One attempt, which counts as connecting already: every endpoint in turn, another one first each time,
  /// until one answers.
  private func connect() {
    let (order, tls) = state.withLock { state in
      let all = configuration.endpoints
      let first = state.nextEndpoint % all.count
      state.nextEndpoint = (first + 1) % all.count
      return (all[first...] + all[..<first], state.tls)
    }
    attempt(Array(order)[...], tls, failures: [])
  }

  private func attempt(
    _ endpoints: ArraySlice<ChannelConfiguration.Endpoint>, _ tls: ClientTLS, failures: [any Error]
  ) {
    guard let endpoint = endpoints.first else { return failed(Self.combined(failures)) }
    // Each its own, so that a late word of a failed connection is not taken for one of the next.
    let id = state.withLock { $0.newID() }
    let attempt = GRPCConnection.start(
      host: endpoint.host, port: endpoint.port, tls: tls, limits: configuration.limits,
      budget: configuration.budget, loop: group.next(), deadline: .now() + configuration.connectTimeout,
      log: configuration.log, onEnd: { self.lost(id) })
    attempt.whenComplete { result in
      switch result {
      case .success(let connection): self.connected(id, connection)
      case .failure(let error):
        // Our own identity is as bad at the next endpoint.
        let isOurs = error is TLSConfigurationError
        self.attempt(isOurs ? [] : endpoints.dropFirst(), tls, failures: failures + [error])
      }
    }
  }

  /// What to say of several failures: the kind that waiting does not cure before others, and every reason.
  private static func combined(_ failures: [any Error]) -> any Error {
    guard failures.count > 1 else { return failures.first ?? ChannelFailure.noEndpoints }
    let known = failures.compactMap { $0 as? ConnectFailure }
    guard var chosen = known.first(where: { $0.isLasting }) ?? known.last else { return failures[0] }
    chosen.message = "no address could be used: " + failures.map { "\($0)" }.joined(separator: "; ")
    return chosen
  }

  private func connected(_ id: UInt64, _ connection: GRPCConnection) {
    let (keep, served) = state.withLock { $0.machine.connected(id, connection, now: .now()) }
    for entry in served { entry.waiter.finish(.success(connection)) }
    if !keep { connection.closeWhenIdle() }
    // It may have ended before it was known here.
    if !connection.isUsable { lost(id) }
  }

  private func failed(_ error: any Error) {
    let now = NIODeadline.now()
    let (failed, retryAt) = state.withLock { state in
      let failed = state.machine.failed(error, now: now, random: random.next())
      return (failed, state.machine.waiting.isEmpty ? nil : state.machine.retryAt)
    }
    for entry in failed { entry.waiter.finish(.failure(error)) }
    if let retryAt { scheduleRetry(at: retryAt) }
  }

  private func lost(_ id: UInt64) {
    let reason = ConnectFailure(.closed, "the server ended the connection as soon as it was up")
    state.withLock { $0.machine.lost(id, now: .now(), random: random.next(), reason: reason) }
  }

  private func scheduleRetry(at time: NIODeadline) {
    let isFirst = state.withLock { state in
      defer { state.retryIsScheduled = true }
      return !state.retryIsScheduled
    }
    guard isFirst else { return }
    group.next().scheduleTask(deadline: time) {
      let (opens, again) = self.state.withLock { state -> (Bool, NIODeadline?) in
        state.retryIsScheduled = false
        let machine = state.machine
        let opens = state.machine.retry(now: .now())
        let waits = !opens && machine.connecting == 0 && machine.readyCount == 0 && !machine.waiting.isEmpty
        return (opens, waits ? machine.retryAt : nil)
      }
      if opens { self.connect() }
      if let again { self.scheduleRetry(at: again) }
    }
  }
}

/// Who waits for a connection.
struct ConnectionWaiter: Sendable {
  let complete: @Sendable (Result<GRPCConnection, any Error>) -> Void
  let timer: Scheduled<Void>?

  func finish(_ result: Result<GRPCConnection, any Error>) {
    timer?.cancel()
    complete(result)
  }
}

extension GRPCStatus {
  /// A call for which there was no connection.
  init(unsent error: any Error) {
    if case .deadlinePassed? = error as? ChannelFailure {
      self.init(.deadlineExceeded, "\(error)", isDefinitelyUnprocessed: true)
    } else {
      self.init(.unavailable, "\(error)", isDefinitelyUnprocessed: true)
    }
  }
}
