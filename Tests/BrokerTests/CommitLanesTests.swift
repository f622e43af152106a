import GroupCoordination
import Logging
import OffsetStorage
import SkeinCore
import Synchronization
import Testing

@testable import Broker

/// Commits on their way to another store: in order, together where they wait, never back (G15, G16).
@Suite struct CommitLanesTests {
  private static let group = GroupKey(tenant: "t", name: "g")
  private static let topic = TopicID(high: 1, low: 1)

  private static func partition(_ number: Int32) -> TopicPartition {
    TopicPartition(topic: topic, partition: number)
  }

  /// A store, the lanes in front of it, and what runs them.
  private struct Bench {
    let control = SwitchStore.Control()
    let stores: OffsetStores
    let lanes: CommitLanes
    let work = AdminQueue()
    let running: Task<Void, Never>

    init() async {
      stores = OffsetStores(
        [control.source("far")], time: SystemTime(),
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
      lanes = CommitLanes(stores: stores, time: SystemTime())
      running = Task { [work] in await work.run() }
      await stores.start(["far"])
    }

    func end() async {
      work.finish()
      await running.value
      await stores.close()
    }

    func add(
      _ offsets: [(Int32, Int64)], member: String = "a", epoch: Int32 = 1, judged: [Fault?]? = nil,
      _ end: @escaping @Sendable (Result<[Fault?], Fault>) -> Void
    ) {
      let commits = offsets.map {
        OffsetCommit(partition: CommitLanesTests.partition($0.0), offset: Offset($0.1))
      }
      lanes.add(
        CommitLanes.Commit(
          lane: .init(group: CommitLanesTests.group, member: member), store: "far", memberEpoch: epoch,
          offsets: commits, judged: judged ?? offsets.map { _ in nil }, end: end), work)
    }

    func commit(
      _ offsets: [(Int32, Int64)], member: String = "a", epoch: Int32 = 1, judged: [Fault?]? = nil
    ) async -> Result<[Fault?], Fault> {
      await withCheckedContinuation { continuation in
        add(offsets, member: member, epoch: epoch, judged: judged) { continuation.resume(returning: $0) }
      }
    }

    func reasons(
      _ offsets: [(Int32, Int64)], member: String = "a", epoch: Int32 = 1, judged: [Fault?]? = nil
    ) async throws -> [String] {
      try await commit(offsets, member: member, epoch: epoch, judged: judged).get().map {
        $0?.reason.name ?? "ok"
      }
    }

    func stored() async throws -> [Int32: Int64] {
      Dictionary(
        uniqueKeysWithValues: try await stores.store("far").fetch(CommitLanesTests.group, nil).map {
          ($0.partition.partition, $0.committed.offset.rawValue)
        })
    }
  }

  @Test func eachOffsetGetsItsOwnResult() async throws {
    let bench = await Bench()
    #expect(try await bench.reasons([(0, 5), (1, 5)]) == ["ok", "ok"])
    // What the coordinator refused is not stored; what goes back is refused; the rest is committed.
    let judged = [Fault(.notAssigned, "no"), nil, nil]
    let mixed = try await bench.reasons([(2, 9), (0, 4), (1, 6)], judged: judged)
    #expect(mixed == ["NOT_ASSIGNED", "COMMIT_BEHIND", "ok"])
    #expect(try await bench.stored() == [0: 5, 1: 6])
    await bench.end()
  }

  /// G15: whoever is older is refused, partition by partition.
  @Test func anOlderEpochIsStale() async throws {
    let bench = await Bench()
    #expect(try await bench.reasons([(0, 5), (1, 5)], member: "a", epoch: 3) == ["ok", "ok"])
    #expect(try await bench.reasons([(0, 6)], member: "b", epoch: 7) == ["ok"])
    let late = try await bench.reasons([(0, 9), (1, 6), (2, 1)], member: "a", epoch: 3)
    #expect(late == ["STALE_MEMBER_EPOCH", "ok", "ok"])
    #expect(try await bench.stored() == [0: 6, 1: 6, 2: 1])
    let stranger = try await bench.reasons([(0, 9)], member: "c", epoch: 2)
    #expect(stranger == ["STALE_MEMBER_EPOCH"])
    await bench.end()
  }

  /// G16: not from one epoch to the next either, though a store would take it; and not by commits of nobody.
  @Test func nothingGoesBackFromOneEpochToTheNext() async throws {
    let bench = await Bench()
    #expect(try await bench.reasons([(0, 50)], member: "a", epoch: 3) == ["ok"])
    #expect(try await bench.reasons([(0, 49), (1, 1)], member: "b", epoch: 4) == ["COMMIT_BEHIND", "ok"])
    #expect(try await bench.reasons([(0, 51)], member: "b", epoch: 4) == ["ok"])
    #expect(try await bench.reasons([(0, 50)], member: "", epoch: 0) == ["COMMIT_BEHIND"])
    #expect(try await bench.reasons([(0, 52)], member: "", epoch: 0) == ["ok"])
    #expect(try await bench.stored() == [0: 52, 1: 1])
    // It looks once for each partition and epoch, not with every commit.
    let before = bench.control.state.withLock { $0.fetches }
    for offset in Int64(60)..<80 {
      #expect(try await bench.reasons([(0, offset)], member: "b", epoch: 5) == ["ok"])
    }
    #expect(bench.control.state.withLock { $0.fetches } == before + 1)
    await bench.end()
  }

  /// While one commit is on its way the others wait, and go together in their order.
  @Test func commitsOfAMemberKeepTheirOrderAndGoTogether() async throws {
    let bench = await Bench()
    #expect(try await bench.reasons([(0, 1)]) == ["ok"])
    let (reached, release) = bench.control.holdNextCommit()
    let order = Order()
    bench.add([(0, 2)]) { order.add(0, $0) }
    for await _ in reached {}
    let before = bench.control.state.withLock { $0.commits }
    for offset in Int64(3)...22 { bench.add([(0, offset), (1, offset)]) { order.add(Int(offset), $0) } }
    bench.add([(0, 7)]) { order.add(100, $0) }
    release.finish()
    #expect(try await bench.reasons([(0, 30)]) == ["ok"])
    #expect(order.all.map(\.0) == [0] + Array(3...22) + [100])
    #expect(order.all.dropLast().allSatisfy { $0.1.allSatisfy { $0 == "ok" } })
    #expect(order.all.last?.1 == ["COMMIT_BEHIND"])
    #expect(bench.control.state.withLock { $0.commits } <= before + 3, "twenty commits went as one")
    #expect(try await bench.stored() == [0: 30, 1: 22])
    await bench.end()
  }

  @Test func aStoreThatIsDownFailsAllOfThem() async throws {
    let bench = await Bench()
    bench.control.down(true)
    for _ in 0..<3 {
      guard case .failure(let fault) = await bench.commit([(0, 1)]) else {
        Issue.record("it was taken")
        continue
      }
      #expect(fault.reason == .offsetStoreUnavailable)
    }
    bench.control.down(false)
    #expect(try await bench.stores.store("far").attempt())
    #expect(try await bench.reasons([(0, 1)]) == ["ok"])
    await bench.end()
  }

  @Test func aMemberWithTooManyCommitsIsRefused() async throws {
    let bench = await Bench()
    let (reached, release) = bench.control.holdNextCommit()
    let order = Order()
    bench.add([(0, 0)]) { order.add(0, $0) }
    for await _ in reached {}
    for number in 1...(CommitLanes.mostWaiting + 5) {
      bench.add([(0, Int64(number))]) { order.add(number, $0) }
    }
    #expect(order.all.map(\.1) == Array(repeating: ["OVERLOADED"], count: 5))
    release.finish()
    while order.all.count < CommitLanes.mostWaiting + 6 { await Task.yield() }
    #expect(try await bench.reasons([(0, 1_000_000)]) == ["ok"])
    await bench.end()
  }
}

/// Answers in the order in which they came.
private final class Order: Sendable {
  private let answers = Mutex<[(Int, [String])]>([])
  var all: [(Int, [String])] { answers.withLock { $0 } }
  func add(_ number: Int, _ result: Result<[Fault?], Fault>) {
    let reasons: [String]
    switch result {
    case .success(let faults): reasons = faults.map { $0?.reason.name ?? "ok" }
    case .failure(let fault): reasons = [fault.reason.name]
    }
    answers.withLock { $0.append((number, reasons)) }
  }
}
