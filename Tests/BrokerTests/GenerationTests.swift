import CommitLog
import Foundation
import MetadataStore
import Simulation
import SkeinCore
import Synchronization
import Testing
import Wire

@testable import Broker

/// Generations as they are stored, and the judgement of a watch.
@Suite struct GenerationTests {
  private func topic(_ generations: Int, partitions: Int32 = 2, weights: [UInt32] = []) -> Topic {
    var topic = Topic(
      id: TopicID(high: 1, low: 2), tenant: .default, name: "t", partitions: partitions,
      partitioner: .murmur2,
      generation: 1, settings: TopicSettings(), explicitSettings: [:], createdMilliseconds: 5, revision: 3)
    for number in 1..<max(2, generations) where generations > 1 {
      var next = TopicGeneration(
        UInt32(number) + 1,
        TopicBinding(
          partitioner: "com.acme.x@1.0.\(number)", config: "{}", weights: weights, fallback: .builtIn(.sticky)
        ),
        partitions: partitions, since: 7)
      next.isFenced = true
      next.cuts = Array(repeating: 9, count: Int(partitions))
      next.headers = ["h"]
      next.watchedUntilMilliseconds = 11
      topic = topic.succeeded(by: next)
    }
    return topic
  }

  private func roundTrip(_ topic: Topic) throws -> Topic {
    try TopicRegistry.decode(
      TopicRegistry.encode(topic), tenant: topic.tenant, name: topic.name, revision: topic.revision)
  }

  @Test func recordsKeepTheNewestGenerations() throws {
    for count in [1, 2, 16, 40] {
      let topic = topic(count)
      #expect(topic.generations.count == min(count, 16) && topic.generation == UInt32(count))
      #expect(try roundTrip(topic) == topic)
      // Only the one in force is watched.
      #expect(topic.generations.dropLast().allSatisfy { $0.watchedUntilMilliseconds == 0 })
    }
    let large = topic(16, partitions: 10_000, weights: Array(repeating: 3, count: 10_000))
    #expect(large.generations.count == 5 && large.generation == 16)
    #expect(TopicRegistry.encode(large).count < 1 << 20)
  }

  /// From before there were generations; and what cannot be read is refused, not guessed.
  @Test func oldRecordsLoadAndBrokenOnesDoNot() throws {
    var record = TopicRecord()
    record.format = 1
    record.topicID = TopicID(high: 1, low: 2).description
    record.partitions = 3
    record.partitioner = "sticky"
    record.generation = 4
    func load(_ record: TopicRecord) throws -> Topic {
      try TopicRegistry.decode(record.encoded(), tenant: .default, name: "t", revision: 1)
    }
    let old = try load(record)
    #expect(old.generation == 4 && old.builtIn == .sticky && old.generations.count == 1)
    #expect(old.grown(to: 5, at: 1).generations.map(\.number) == [4, 5])
    var broken = record
    broken.partitioner = "sticki"
    #expect(throws: Fault.self) { try load(broken) }
    broken = record
    broken.generations = [
      GenerationRecord(generation: 3, partitioner: "sticky", partitions: 3)  // not the one in force
    ]
    #expect(throws: Fault.self) { try load(broken) }
    broken.generations = [
      GenerationRecord(generation: 4, partitioner: "sticky", fallback: "moon", partitions: 3)
    ]
    #expect(throws: Fault.self) { try load(broken) }
  }

  @Test func theGenerationBeforeIsTheOneThatPlacesOtherwise() {
    let grown = topic(2).grown(to: 4, at: 1)
    #expect(grown.generation == 3 && grown.earlierGeneration?.number == 1)
    #expect(topic(1).earlierGeneration == nil && topic(1).grown(to: 4, at: 1).earlierGeneration == nil)
    let weighted = topic(2, weights: [2, 5]).grown(to: 4, at: 1)
    #expect(weighted.current.binding.weights == [2, 5, 3, 3])
  }

  @Test func aWatchJudges() {
    func window(_ calls: Int, faults: Int = 0, nanoseconds: Int64 = 1_000, to: Int32? = nil) -> WatchWindow {
      var window = WatchWindow(4)
      for call in 0..<calls {
        let fault = call < faults ? Fault(.pluginFault, "x", metadata: ["kind": "crash"]) : nil
        window.count(
          (0..<100).map { to ?? $0 % 4 }, records: 100, nanoseconds: nanoseconds * 100, fault: fault)
      }
      return window
    }
    let policy = WatchPolicy(expectedShare: 0.3)
    #expect(policy.breach(window(1_000)) == nil && policy.breach(WatchWindow(4)) == nil)
    #expect(policy.breach(window(1_000, faults: 9)) == nil)
    #expect(policy.breach(window(1_000, faults: 10)) != nil)
    #expect(policy.breach(window(2, faults: 2)) == nil && policy.breach(window(3, faults: 3)) != nil)
    #expect(policy.breach(window(99, nanoseconds: 2_000_000)) == nil)
    #expect(policy.breach(window(100, nanoseconds: 2_000_000))?.contains("1800000 ns") == true)
    // A call that waits for a processor: 20 ms are not the partitioner's, what goes beyond is.
    var sleepy = WatchWindow(4)
    for _ in 0..<100 { sleepy.count([0], records: 1, nanoseconds: 20_900_000, fault: nil) }
    #expect(policy.breach(sleepy) == nil)
    for _ in 0..<100 { sleepy.count([0], records: 1, nanoseconds: 21_100_000, fault: nil) }
    #expect(policy.breach(sleepy)?.contains("1100000 ns") == true)
    #expect(policy.breach(window(99, to: 1)) == nil)
    #expect(policy.breach(window(100, to: 1))?.contains("100 %") == true)
    // What the operator was shown, or nothing to compare with, is not a fault.
    #expect(WatchPolicy(expectedShare: 0.6).breach(window(100, to: 1)) == nil)
    #expect(WatchPolicy(expectedShare: nil).breach(window(100, to: 1)) == nil)
    var wild = window(1_000)
    for _ in 0..<3 {
      wild.count(
        [], records: 1, nanoseconds: 1, fault: Fault(.pluginFault, "x", metadata: ["fault": "out-of-range"]))
    }
    #expect(policy.breach(wild)?.contains("out of range") == true)
  }

  // MARK: A store that does not say

  /// Commits, or not, and then says that it does not know; then it does not answer for some reads.
  private final class Vague: MetadataStore {
    enum Mode { case clear, applies, loses }
    let inner: SQLiteStore
    let state = Mutex((mode: Mode.clear, silentReads: 0))
    init(_ inner: SQLiteStore) { self.inner = inner }
    private static let unknown = MetadataError(.unavailable, "no answer", outcome: .unknown)

    func range(_ request: RangeRequest) async throws(MetadataError) -> RangeResult {
      let isSilent = state.withLock { state in
        state.silentReads -= 1
        return state.silentReads >= 0
      }
      if isSilent { throw Self.unknown }
      return try await inner.range(request)
    }
    func transact(_ transaction: Transaction) async throws(MetadataError) -> TransactionResult {
      switch state.withLock({ $0.mode }) {
      case .clear: return try await inner.transact(transaction)
      case .loses: throw Self.unknown
      case .applies:
        _ = try await inner.transact(transaction)
        throw Self.unknown
      }
    }
    func watch(_ request: WatchRequest) async throws(MetadataError) -> MetadataWatch {
      try await inner.watch(request)
    }
    func compact(at revision: Revision) async throws(MetadataError) { try await inner.compact(at: revision) }
    func grantLease(timeToLive: Int64, id: LeaseID) async throws(MetadataError) -> LeaseGrant {
      try await inner.grantLease(timeToLive: timeToLive, id: id)
    }
    func keepAlive(_ lease: LeaseID) async throws(MetadataError) -> Int64 { try await inner.keepAlive(lease) }
    func revoke(_ lease: LeaseID) async throws(MetadataError) { try await inner.revoke(lease) }
    func timeToLive(_ lease: LeaseID, keys: Bool) async throws(MetadataError) -> LeaseStatus {
      try await inner.timeToLive(lease, keys: keys)
    }
    func close() async { await inner.close() }
  }

  @Test func anUnknownCommitIsFoundOut() async throws {
    let inner = try await SQLiteStore.open(
      disk: SimulatedDisk(seed: 1), path: "metadata.db", time: SimulatedTime(), random: SeededRandom(seed: 1))
    let store = Vague(inner)
    let registry = TopicRegistry(
      store: store, keys: MetadataKeys(cluster: "c"), maximumPartitions: 100, time: SimulatedTime(),
      random: SeededRandom(seed: 1))
    let made = try await registry.create(
      "t", tenant: .default, first: TopicGeneration(1, TopicBinding(.murmur2), partitions: 2),
      settings: TopicSettings(), explicit: [:])
    let new = made.succeeded(by: TopicGeneration(2, TopicBinding(.sticky), partitions: 2))
    var told = 0

    store.state.withLock { $0 = (.loses, 1) }
    let lost = await fault {
      _ = try await registry.changeSurely(made, to: new, told: { _ in told += 1 }, gaveUp: { false })
    }
    #expect(lost?.reason == .conflict && told == 1)

    store.state.withLock { $0 = (.applies, 2) }
    let found = try await registry.changeSurely(made, to: new, told: { _ in told += 1 }, gaveUp: { false })
    #expect(found.generation == 2 && found.revision > made.revision && told == 2)

    store.state.withLock { $0 = (.applies, .max) }
    let unknown = await fault {
      _ = try await registry.changeSurely(found, to: new, told: { _ in }, gaveUp: { true })
    }
    #expect(unknown?.reason == .metadataUnavailable)
    await store.close()
  }
}
