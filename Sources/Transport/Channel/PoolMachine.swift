import NIOCore

/// Decides which connection a call goes to, when one more is opened, who waits and who fails.
///
/// Pure: time, randomness and the load of connections come in, what is to be done comes out. `Link` is a
/// connection; `Waiter` whatever is completed later. Its owner keeps it behind a lock.
struct PoolMachine<Link: Sendable, Waiter: Sendable>: Sendable {
  enum Choice: Sendable {
    case use(Link)
    /// Nothing is ready; `enqueue` and wait.
    case wait
    case fail(any Error)
  }

  struct Waiting: Sendable {
    let id: UInt64
    let waitsForReady: Bool
    let waiter: Waiter
  }

  private struct Ready: Sendable {
    let id: UInt64
    let link: Link
    let since: NIODeadline
  }

  let maxConnections: Int
  let maxWaiting: Int
  private let backoff: ChannelConfiguration.Backoff
  private let stableAfter: TimeAmount

  private var ready: [Ready] = []
  private(set) var connecting = 0
  private(set) var waiting: [Waiting] = []
  private var failures = 0
  private(set) var lastFailure: (any Error)?
  private(set) var retryAt: NIODeadline = .uptimeNanoseconds(0)
  private(set) var isClosed = false
  private var turn = 0

  init(_ configuration: ChannelConfiguration) {
    maxConnections = max(1, configuration.maxConnections)
    maxWaiting = configuration.maxWaiting
    backoff = configuration.backoff
    stableAfter = configuration.stableAfter
  }

  var readyCount: Int { ready.count }

  func state(_ now: NIODeadline) -> ChannelState {
    if isClosed { return .closed }
    if !ready.isEmpty { return .ready(connections: ready.count) }
    if connecting > 0 { return .connecting }
    if let lastFailure { return .backingOff(last: lastFailure, retryAt: retryAt) }
    return .idle
  }

  /// A call wants a connection.
  ///
  /// - Parameters:
  ///   - load: calls on a connection, and how many are enough for another one to be opened.
  ///   - opens: set when a connection is to be opened now; it counts as connecting from here on.
  mutating func choose(
    waitsForReady: Bool, now: NIODeadline, opens: inout Bool, load: (Link) -> (calls: Int, enough: Int)
  ) -> Choice {
    if isClosed { return .fail(ChannelFailure.closed) }
    if let best = leastLoaded(load) {
      // Only while none is on its way: a burst opens one after the other, not all at once.
      if best.isFull, connecting == 0, ready.count < maxConnections, now >= retryAt { open(&opens) }
      return .use(best.link)
    }
    guard waiting.count < maxWaiting else { return .fail(ChannelFailure.tooManyWaiting(limit: maxWaiting)) }
    if connecting > 0 { return .wait }
    if now >= retryAt {
      open(&opens)
      return .wait
    }
    if !waitsForReady, let lastFailure { return .fail(lastFailure) }
    return .wait
  }

  mutating func enqueue(_ id: UInt64, waitsForReady: Bool, _ waiter: Waiter) {
    waiting.append(Waiting(id: id, waitsForReady: waitsForReady, waiter: waiter))
  }

  /// A waiter's deadline passed or its task was cancelled. nil: it has been served.
  mutating func dequeue(_ id: UInt64) -> Waiter? {
    guard let index = waiting.firstIndex(where: { $0.id == id }) else { return nil }
    return waiting.remove(at: index).waiter
  }

  /// A connection is up. Everybody who waits is to be served. False: the pool was closed meanwhile, close it.
  mutating func connected(_ id: UInt64, _ link: Link, now: NIODeadline) -> (keep: Bool, served: [Waiting]) {
    connecting -= 1
    guard !isClosed else { return (false, []) }
    ready.append(Ready(id: id, link: link, since: now))
    lastFailure = nil
    defer { waiting.removeAll() }
    return (true, waiting)
  }

  /// An attempt failed. Who does not wait for readiness fails with it, unless something else is ready or on its
  /// way; the others wait for `retryAt`.
  mutating func failed(_ error: any Error, now: NIODeadline, random: UInt64) -> [Waiting] {
    connecting -= 1
    guard !isClosed else { return [] }
    backOff(error, now: now, random: random)
    guard connecting == 0 else { return [] }
    let failed = waiting.filter { !$0.waitsForReady }
    waiting.removeAll { !$0.waitsForReady }
    return failed
  }

  /// The time of `retryAt` has come. True: open one (it counts as connecting).
  mutating func retry(now: NIODeadline) -> Bool {
    guard !isClosed, !waiting.isEmpty, connecting == 0, ready.isEmpty, now >= retryAt else { return false }
    connecting += 1
    return true
  }

  /// A connection takes no calls any more. May be told twice.
  mutating func lost(_ id: UInt64, now: NIODeadline, random: UInt64, reason: any Error) {
    guard let index = ready.firstIndex(where: { $0.id == id }) else { return }
    let link = ready.remove(at: index)
    if now - link.since < stableAfter {
      backOff(reason, now: now, random: random)
    } else {
      failures = 0
    }
  }

  /// Forgets all connections, for new ones with another identity. Returns them.
  mutating func retire() -> [Link] {
    defer { ready.removeAll() }
    failures = 0
    retryAt = .uptimeNanoseconds(0)
    return ready.map(\.link)
  }

  /// Nothing more is opened. Returns who waits and what is open.
  mutating func close() -> (waiting: [Waiting], links: [Link]) {
    isClosed = true
    defer {
      waiting.removeAll()
      ready.removeAll()
    }
    return (waiting, ready.map(\.link))
  }

  private mutating func open(_ opens: inout Bool) {
    connecting += 1
    opens = true
  }

  private mutating func backOff(_ error: any Error, now: NIODeadline, random: UInt64) {
    retryAt = now + backoff.delay(failures: failures, random: random)
    failures += 1
    lastFailure = error
  }

  /// The connection with the fewest calls; among equals they take turns.
  private mutating func leastLoaded(
    _ load: (Link) -> (calls: Int, enough: Int)
  ) -> (link: Link, isFull: Bool)? {
    guard !ready.isEmpty else { return nil }
    turn &+= 1
    var best: (link: Link, calls: Int, isFull: Bool)?
    for step in ready.indices {
      let link = ready[(turn &+ step) % ready.count].link
      let (calls, enough) = load(link)
      if best.map({ calls < $0.calls }) ?? true { best = (link, calls, calls >= enough) }
    }
    return best.map { ($0.link, $0.isFull) }
  }
}
