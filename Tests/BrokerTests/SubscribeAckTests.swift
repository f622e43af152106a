import Foundation
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// Records that are acknowledged one by one.
@Suite(.serialized) struct SubscribeAckTests {
  /// Against a set of numbers.
  @Test func theTrackerKnowsWhatIsProcessed() {
    var generator = SystemRandomNumberGenerator()
    let seed = generator.next()
    var random = Dice(state: seed)
    for _ in 0..<200 {
      let start = Int64(random.below(5))
      var tracker = AckTracker(processed: start)
      var model = Set<Int64>()
      for _ in 0..<random.below(60) {
        let low = Int64(random.below(40))
        let range = low..<low + 1 + Int64(random.below(4))
        switch random.below(10) {
        case 0:
          tracker.commit(low)
          model.formUnion(0..<low)
        case 1:
          tracker.hole(range)
          model.formUnion(range)
        default:
          let isTaken = tracker.acknowledge(range)
          #expect(isTaken)
          model.formUnion(range)
        }
        var expected = start
        while model.contains(expected) { expected += 1 }
        #expect(tracker.processed == expected, "seed \(seed)")
        let beyond = model.filter { $0 > expected }
        let gaps = beyond.filter { !model.contains($0 - 1) }.count
        #expect(tracker.gaps == gaps, "seed \(seed)")
      }
    }
  }

  private struct Dice {
    var state: UInt64
    mutating func below(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(bound))
    }
  }

  @Test func theTrackerIsBounded() {
    var tracker = AckTracker(processed: 0)
    func acknowledge(_ range: Range<Int64>) -> Bool { tracker.acknowledge(range) }
    for gap in 0..<Int64(AckTracker.maximumGaps) { #expect(acknowledge(gap * 2 + 1..<gap * 2 + 2)) }
    #expect(!acknowledge(1_000_000..<1_000_001))
    // What joins two is taken, and what extends one.
    #expect(acknowledge(2..<3) && acknowledge(6..<7))
    #expect(acknowledge(1_000_000..<1_000_001))
    #expect(acknowledge(0..<1) && tracker.processed == 4)
    #expect(!tracker.isFull)

    // Holes of somebody who only commits are forgotten, not hoarded; then only a commit says more.
    tracker = AckTracker(processed: 0)
    for hole in 0..<Int64(AckTracker.maximumRanges) + 1 { tracker.hole(hole * 2 + 1..<hole * 2 + 2) }
    #expect(tracker.gaps <= AckTracker.maximumRanges && !tracker.isExact && !acknowledge(0..<1))
    tracker.commit(1 << 40)
    #expect(tracker.isExact && acknowledge(1 << 40..<(1 << 40) + 1) && tracker.processed == (1 << 40) + 1)
  }

  @Test func whatIsAcknowledgedWithoutGapsIsCommitted() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    try await fixture.publish(10, to: 0..<2)
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count == 20 }
    try await member.ack([(0, 5, 9), (0, 1, 3), (1, 0, 0)])
    try await reaches(fixture, member, [1: 1])
    #expect(try await fixture.committed()[0] == nil)
    try await member.ack([(0, 0, 0)])
    try await reaches(fixture, member, [0: 4, 1: 1])
    try await member.ack([(0, 4, 4), (1, 0, 5)])
    try await reaches(fixture, member, [0: 10, 1: 6])
    // Only what was sent can have been processed; of the others each is told.
    try await member.ack([(0, 0, 10), (7, 0, 0)])
    let refused = try await member.first(\.committed)
    #expect(refused.id == 0 && refused.results.map(\.partition) == [0, 7])
    #expect(refused.results.map { Fault($0.error ?? Status()).reason } == [.invalidRequest, .notAssigned])
    try await member.leave()
    await fixture.end()
  }

  private func reaches(_ fixture: GroupFixture, _ member: MemberClient, _ expected: [Int32: Int64])
    async throws
  {
    var seen = try await fixture.committed()
    for _ in 0..<200 where seen != expected {
      try await member.beat()
      seen = try await fixture.committed()
    }
    #expect(seen == expected)
  }

  /// With a long pause between commits nothing is committed by itself: but before a partition goes, and at the end.
  @Test func whatWasAcknowledgedIsCommittedBeforeItGoes() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    try await fixture.publish(10, to: 0..<2)
    let a = try await MemberClient.join(fixture.connection) { $0.ackCommitMs = 3_600_000 }
    try await a.until { $0.values.count == 20 }
    let b = try await MemberClient.open(fixture.connection)
    try await a.until { $0.revoking.count == 1 }
    let gone = try #require(a.revoking.first)
    try await a.ack([(gone, 0, 6), (1 - gone, 0, 2)])
    try await a.beat()
    #expect(try await fixture.committed() == [:])
    try await a.release()
    try await b.until { $0.received[gone]?.count == 3 }
    #expect(b.received[gone] == [7, 8, 9])
    try await a.ack([(1 - gone, 3, 4)])
    try await a.leave()
    #expect(try await fixture.committed() == [gone: 7, 1 - gone: 5])
    try await b.leave()
    await fixture.end()
  }

  /// A stream that breaks commits what it can.
  @Test func aBrokenStreamCommitsWhatWasAcknowledged() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    try await fixture.publish(10, to: 0..<1)
    let a = try await MemberClient.join(fixture.connection) { $0.ackCommitMs = 3_600_000 }
    try await a.until { $0.values.count == 10 }
    try await a.ack([(0, 0, 6)])
    try await a.beat()
    try await a.cancel()
    let again = try await a.resume(fixture.connection)
    try await again.until { $0.assignment != nil }
    #expect(try await fixture.committed() == [0: 7])
    // What it acknowledged beyond, it says again.
    try await again.ack([(0, 6, 9)])
    try await again.leave()
    #expect(try await fixture.committed() == [0: 10])
    await fixture.end()
  }

  /// Nobody acknowledges what no member can see: what compaction took, between batches and within them.
  @Test func holesNeedNoAcknowledgement() async throws {
    let fixture = try await GroupFixture.start(
      partitions: 1,
      settings: [
        "cleanup.policy": "compact", "segment.bytes": "65536", "segment.ms": "1000",
        "min.cleanable.dirty.ratio": "0.01",
      ]
    ) {
      $0.maintenanceMilliseconds = 20
      $0.compactionIntervalMilliseconds = 20
    }
    // Of every second round all records are overwritten, of the others half of them.
    let filler = String(repeating: "x", count: 2000)
    for round in 0..<20 {
      let records = (0..<20).map { number in
        let key = number % 2 == 0 && round % 2 == 0 ? "\(round) \(number)" : "\(number)"
        return Record(
          key: SharedBytes(Array(key.utf8)), value: SharedBytes(Array("\(round) \(filler)".utf8)),
          partition: 0)
      }
      let _: PublishResponse = try await fixture.connection.call(
        ProducerMethod.publish, PublishRequest(topic: "t", records: records))
    }
    for _ in 0..<600 {
      if try await count(fixture) == 120 { break }
      try await Task.sleep(for: .milliseconds(20))
    }
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.positions[0] == 400 }
    let offsets = try #require(member.received[0])
    #expect(offsets.count == 120)
    try await member.ack(offsets.map { (0, $0, $0) })
    try await reaches(fixture, member, [0: 400])
    try await member.leave()
    await fixture.end()
  }

  /// Records that are there.
  private func count(_ fixture: GroupFixture) async throws -> Int {
    var (count, next) = (0, Int64(0))
    while next < 400 {
      let fetched: FetchResponse = try await fixture.connection.call(
        ConsumerMethod.fetch,
        FetchRequest(partitions: [FetchPartition(topic: "t", partition: 0, offset: next)], decoded: true))
      let part = try #require(fetched.partitions.first)
      count += part.records.count
      try #require(part.nextOffset > next)
      next = part.nextOffset
    }
    return count
  }

  /// What is beyond the bound is told, not forgotten, and may be said again later.
  @Test func tooManyGapsAreTold() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    try await fixture.publish(20_010, to: 0..<1)
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count == 20_010 }
    func odd(_ numbers: Range<Int64>) -> [(partition: Int32, first: Int64, last: Int64)] {
      numbers.map { (0, 2 * $0 + 1, 0) }
    }
    try await member.ack(odd(0..<5_000))
    try await member.ack(odd(5_000..<10_002))
    let refused = try await member.first(\.committed)
    let fault = Fault(try #require(refused.results.first?.error))
    #expect(refused.id == 0 && refused.results.count == 2 && fault.reason == .tooManyGaps)
    #expect(fault.metadata["first"] == "20001" && fault.metadata["limit"] == "10000")
    try await member.ack([(0, 0, 10_000), (0, 20_001, 20_001)])
    try await reaches(fixture, member, [0: 10_002])
    try await member.leave()
    await fixture.end()
  }
}
