import NIOCore
import SkeinCore
import Synchronization

/// What all connections of a server share: the router, the bounds on connections, and who is open.
///
/// `@unchecked Sendable`: the mutable part stands behind `lock`, the rest is `let`.
final class ServerState: @unchecked Sendable {
  let configuration: ServerConfiguration
  let router: @Sendable (Call) -> (any CallHandler)?

  /// What is held for calls whose token is being judged.
  let heldBudget: MemoryBudget
  /// Rises whenever answers of the authenticator may not hold any more.
  private let epoch = Atomic<Int>(0)

  private struct Guarded {
    var accepted = 0
    var handshakes = 0
    var open: [ObjectIdentifier: Connection] = [:]
    var context: TLSContext?
    var isDraining = false
    var whenEmpty: EventLoopPromise<Void>?
  }
  private let guarded: Mutex<Guarded>

  init(
    configuration: ServerConfiguration, context: TLSContext?,
    router: @escaping @Sendable (Call) -> (any CallHandler)?
  ) {
    self.configuration = configuration
    heldBudget = MemoryBudget(limit: configuration.authentication?.limits.heldBytes ?? 0)
    guarded = Mutex(Guarded(context: context))
    self.router = router
  }

  /// Takes a place for a new connection, or says why there is none.
  func admit() -> String? {
    let limits = configuration.limits
    return guarded.withLock { state in
      if state.isDraining { return "the server is stopping" }
      if state.accepted >= limits.maxConnections { return "\(limits.maxConnections) connections are open" }
      if state.handshakes >= limits.maxHandshakes {
        return "\(limits.maxHandshakes) handshakes are in progress"
      }
      state.accepted += 1
      state.handshakes += 1
      return nil
    }
  }

  /// What new connections are made with; nil in process.
  var context: TLSContext? { guarded.withLock { $0.context } }

  /// Replaces it; returns the open connections.
  func replace(_ context: TLSContext) -> [Connection] {
    guarded.withLock { state in
      state.context = context
      return Array(state.open.values)
    }
  }

  func handshakeEnded() { guarded.withLock { $0.handshakes -= 1 } }

  func add(_ connection: Connection) {
    guarded.withLock { $0.open[ObjectIdentifier(connection)] = connection }
  }

  func remove(_ connection: Connection) {
    guarded.withLock { _ = $0.open.removeValue(forKey: ObjectIdentifier(connection)) }
    release()
  }

  /// Gives the place back.
  func release() {
    let promise = guarded.withLock { state -> EventLoopPromise<Void>? in
      state.accepted -= 1
      guard state.accepted == 0 else { return nil }
      defer { state.whenEmpty = nil }
      return state.whenEmpty
    }
    promise?.succeed()
  }

  var credentialEpoch: Int { epoch.load(ordering: .acquiring) }

  /// Any thread.
  func credentialsChanged(_ concerns: @escaping @Sendable (CallIdentity) -> Bool) {
    guard configuration.authentication != nil else { return }
    epoch.add(1, ordering: .acquiringAndReleasing)
    for connection in guarded.withLock({ Array($0.open.values) }) {
      connection.eventLoop.execute {
        (connection.role as? ServerRole)?.desk?.credentialsChanged(concerns, connection)
      }
    }
  }

  var isDraining: Bool { guarded.withLock { $0.isDraining } }
  var connectionCount: Int { guarded.withLock { $0.accepted } }
  var handshakeCount: Int { guarded.withLock { $0.handshakes } }

  /// No new connections from now on; the open ones, for the caller to drain or close.
  func beginDrain() -> [Connection] {
    guarded.withLock { state in
      state.isDraining = true
      return Array(state.open.values)
    }
  }

  /// Succeeds when the last connection has gone. At most one waiter.
  func whenEmpty(on loop: any EventLoop) -> EventLoopFuture<Void> {
    guarded.withLock { state in
      if state.accepted == 0 { return loop.makeSucceededVoidFuture() }
      if let promise = state.whenEmpty { return promise.futureResult }
      let promise = loop.makePromise(of: Void.self)
      state.whenEmpty = promise
      return promise.futureResult
    }
  }
}
