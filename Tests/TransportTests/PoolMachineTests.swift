import NIOCore
import Testing

@testable import Transport

/// The pool's decisions alone, on a clock of the test's own.
@Suite struct PoolMachineTests {
  private typealias Machine = PoolMachine<String, Int>
  private struct Broken: Error {}

  private final class World {
    var machine: Machine
    var load: [String: Int] = [:]
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    var opened = 0
    init(_ change: (inout ChannelConfiguration) -> Void = { _ in }) {
      var configuration = ChannelConfiguration(
        endpoints: [], tls: ClientTLS(trustRoots: .bytes([])))
      configuration.callsPerConnection = 10
      configuration.maxConnections = 3
      configuration.maxWaiting = 3
      change(&configuration)
      machine = Machine(configuration)
    }

    func call(_ id: UInt64, waitsForReady: Bool = false) -> String {
      var opens = false
      let choice = machine.choose(waitsForReady: waitsForReady, now: now, opens: &opens) {
        (calls: load[$0] ?? 0, enough: 10)
      }
      if opens { opened += 1 }
      switch choice {
      case .use(let link): return link
      case .wait:
        machine.enqueue(id, waitsForReady: waitsForReady, Int(id))
        return "wait"
      case .fail(let error): return "\(error)"
      }
    }
    func up(_ id: UInt64, _ name: String) -> [Int] {
      machine.connected(id, name, now: now).served.map(\.waiter)
    }
    func down() -> [Int] { machine.failed(Broken(), now: now, random: 0).map(\.waiter) }
    func pass(_ amount: TimeAmount) { now = now + amount }
  }

  @Test func opensOnDemandOnlyAndOnce() {
    let world = World()
    if case .idle = world.machine.state(world.now) {} else { Issue.record("idle") }
    #expect(world.call(1) == "wait" && world.call(2) == "wait")
    #expect(world.opened == 1, "both wait for the same attempt")
    #expect(world.up(1, "a") == [1, 2])
    #expect(world.call(3) == "a")
    #expect(world.opened == 1)
  }

  @Test func balancesAndGrowsToTheLimit() {
    let world = World()
    _ = world.call(1)
    _ = world.up(1, "a")
    world.load["a"] = 10
    #expect(world.call(2) == "a", "it does not wait for the second")
    #expect(world.call(3) == "a")
    #expect(world.opened == 2, "one more, not one for each call")
    #expect(world.up(2, "b").isEmpty)
    #expect(world.call(4) == "b")
    world.load = ["a": 10, "b": 10]
    _ = world.call(5)
    _ = world.up(3, "c")
    world.load = ["a": 12, "b": 11, "c": 13]
    #expect((0..<6).map { _ in world.call(6) } == [String](repeating: "b", count: 6))
    #expect(world.opened == 3, "never more than maxConnections")
    world.load = ["a": 1, "b": 1, "c": 1]
    #expect(Set((0..<6).map { _ in world.call(7) }) == ["a", "b", "c"], "equals take turns")
  }

  @Test func backsOffAfterFailures() {
    let world = World {
      $0.backoff.first = .milliseconds(100)
      $0.backoff.limit = .seconds(1)
    }
    #expect(world.call(1) == "wait" && world.call(2, waitsForReady: true) == "wait")
    #expect(world.down() == [1], "only who does not wait for readiness fails")
    #expect(world.call(3) == "Broken()")
    if case .backingOff = world.machine.state(world.now) {} else { Issue.record("backing off") }
    var waits: [Int64] = []
    for _ in 0..<8 {
      let notYet = world.machine.retry(now: world.machine.retryAt - .nanoseconds(1))
      #expect(!notYet)
      waits.append((world.machine.retryAt - world.now).nanoseconds / 1_000_000)
      world.now = world.machine.retryAt
      let isDue = world.machine.retry(now: world.now)
      #expect(isDue)
      #expect(world.down().isEmpty)
    }
    // Without luck (random 0) half of 100 ms doubled each time, at most half of a second.
    #expect(waits == [50, 100, 200, 400, 500, 500, 500, 500])
    world.now = world.machine.retryAt
    let isDue = world.machine.retry(now: world.now)
    #expect(isDue)
    #expect(world.up(9, "a") == [2])
  }

  @Test func aConnectionThatDoesNotLastIsAFailedAttempt() {
    let world = World()
    _ = world.call(1)
    _ = world.up(1, "a")
    world.machine.lost(1, now: world.now, random: 0, reason: Broken())
    world.machine.lost(1, now: world.now, random: 0, reason: Broken())
    #expect(world.call(2) == "Broken()")
    world.pass(.seconds(1))
    #expect(world.call(3) == "wait" && world.opened == 2)
    _ = world.up(2, "b")
    world.pass(.seconds(60))
    world.machine.lost(2, now: world.now, random: 0, reason: Broken())
    #expect(world.call(4) == "wait" && world.opened == 3, "one that did is replaced at once")
  }

  @Test func boundsCloseAndCancellation() {
    let world = World()
    #expect((1...3).map { world.call($0) } == ["wait", "wait", "wait"])
    #expect(world.call(4).contains("3 calls wait"))
    let (first, again) = (world.machine.dequeue(2), world.machine.dequeue(2))
    #expect(first == 2 && again == nil)
    let (waiting, links) = world.machine.close()
    #expect(waiting.map(\.waiter) == [1, 3] && links.isEmpty)
    #expect(world.call(5).contains("closed"))
    let late = world.machine.connected(1, "late", now: world.now)
    #expect(!late.keep && late.served.isEmpty)
    if case .closed = world.machine.state(world.now) {} else { Issue.record("closed") }
  }

  @Test func budgetOfRetries() {
    let budget = RetryBudget(limit: 2)
    #expect([budget.take(), budget.take(), budget.take()] == [true, true, false])
    for _ in 0..<9 { budget.earn() }
    #expect(!budget.take())
    budget.earn()
    #expect(budget.take() && !budget.take())
    for _ in 0..<1000 { budget.earn() }
    #expect([budget.take(), budget.take(), budget.take()] == [true, true, false])
    #expect(!RetryBudget(limit: 0).take())
  }

  @Test func jitterStaysInItsBounds() {
    var backoff = ChannelConfiguration.Backoff()
    backoff.first = .milliseconds(100)
    backoff.limit = .seconds(2)
    for failures in [0, 1, 3, 10, 63, .max] {
      let ceiling = failures < 5 ? Int64(100_000_000) << Int64(failures) : 2_000_000_000
      for random: UInt64 in [0, 1, .max / 2, .max] {
        let delay = backoff.delay(failures: failures, random: random).nanoseconds
        #expect((ceiling / 2...ceiling).contains(delay), "\(failures): \(delay)")
      }
    }
  }
}
