import Foundation
import GroupCoordination
import SkeinCore
import Testing

/// The bytes of `__groups` (Docs/formats/group-records.md).
@Suite struct RecordCodingTests {
  static let key = GroupKey(tenant: "acme", name: "billing")
  static let topic = TopicID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210)

  static var samples: [(name: String, record: GroupRecord)] {
    let profile = MemberProfile(
      instanceID: "pod-0", processID: "p1", client: "svc@10.0.0.7",
      subscription: Subscription(names: ["orders", "bills"], patterns: ["audit\\..*"]),
      labels: ["zone": "a", "disk": "fast"], assignor: "sticky", processing: 300_000, joinEpoch: 7)
    var plain = profile
    plain.instanceID = nil
    plain.assignor = nil
    plain.labels = [:]
    var assignment = MemberAssignment(epoch: 9)
    assignment.assigned = [
      TopicPartition(topic: topic, partition: 0): 7, TopicPartition(topic: topic, partition: 3): 9,
    ]
    assignment.revoking = [TopicPartition(topic: topic, partition: 1): 7]
    assignment.target = Set(assignment.assigned.keys)
    let topics = GroupTopics(
      topics: [.init(name: "orders", id: topic, partitions: 4, places: ["a", "b", "a", "b"])],
      patterns: ["audit\\..*": [], "o.*": ["orders"]])
    let offset = CommittedOffset(
      offset: Offset(123_456), leaderEpoch: 3, metadata: "größe", committedAt: 1_700_000_000_000)
    return [
      (
        "group",
        .group(key, GroupValue(epoch: 9, assignmentEpoch: 8, assignor: "affinity:zone", emptySince: nil))
      ),
      (
        "group-empty",
        .group(
          key, GroupValue(epoch: 10, assignmentEpoch: 10, assignor: "sticky", emptySince: 1_700_000_000_000))
      ),
      ("group-gone", .group(key, nil)),
      ("topics", .topics(key, topics)),
      ("topics-gone", .topics(key, nil)),
      ("member", .member(key, "m-1", profile)),
      ("member-plain", .member(key, "m-2", plain)),
      ("member-gone", .member(key, "m-1", nil)),
      ("assignment", .assignment(key, "m-1", assignment)),
      ("assignment-gone", .assignment(key, "m-1", nil)),
      ("offset", .offset(key, TopicPartition(topic: topic, partition: 3), offset)),
      ("offset-gone", .offset(key, TopicPartition(topic: topic, partition: 3), nil)),
      ("epoch-floor", .epochFloor(41)),
    ]
  }

  private static var goldenFile: URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/records.txt")
  }

  /// One line a record: name, key, value in hexadecimal; `-` is a tombstone.
  private static func lines() -> String {
    samples.map { name, record in
      "\(name) \(Hex.string(record.key)) \(record.value.map { Hex.string($0) } ?? "-")\n"
    }.joined()
  }

  /// `SKEIN_RECORD=1 swift test --filter RecordCodingTests` writes the file anew; that is a change of the format.
  @Test func bytesAreThoseOfTheGoldenFile() throws {
    if ProcessInfo.processInfo.environment["SKEIN_RECORD"] == "1" {
      try Self.lines().write(to: Self.goldenFile, atomically: true, encoding: .utf8)
    }
    #expect(try String(contentsOf: Self.goldenFile, encoding: .utf8) == Self.lines())
  }

  @Test func whatIsWrittenIsRead() throws {
    for (name, record) in Self.samples {
      let read = try GroupRecord(key: record.key, value: record.value)
      #expect(read == record, "\(name)")
      #expect(record.isTombstone == (record.value == nil))
    }
  }

  @Test func keysOfDifferentThingsDiffer() {
    var keys = Self.samples.filter {
      !$0.record.isTombstone && !["group-empty", "member-plain"].contains($0.name)
    }.map(\.record.key)
    // "ab" + "c" is not "a" + "bc".
    keys += [GroupKey(tenant: "ab", name: "c"), GroupKey(tenant: "a", name: "bc")].map {
      GroupRecord.group($0, nil).key
    }
    #expect(Set(keys).count == keys.count)
  }

  /// Every beginning of a record is refused, and so is anything after its end.
  @Test func lengthsAreCheckedToTheByte() {
    for (name, record) in Self.samples {
      for count in 0..<record.key.count {
        #expect(throws: GroupRecordError.self, "\(name)") {
          try GroupRecord(key: Array(record.key.prefix(count)), value: record.value)
        }
      }
      #expect(throws: GroupRecordError.self) { try GroupRecord(key: record.key + [0], value: record.value) }
      guard let value = record.value else { continue }
      for count in 0..<value.count {
        #expect(throws: GroupRecordError.self, "\(name)") {
          try GroupRecord(key: record.key, value: Array(value.prefix(count)))
        }
      }
      #expect(throws: GroupRecordError.self) { try GroupRecord(key: record.key, value: value + [0]) }
    }
  }

  @Test func laterTypesAndVersionsAreNotGuessed() {
    #expect(throws: GroupRecordError.unknownType(99)) { try GroupRecord(key: [99], value: nil) }
    let record = GroupRecord.epochFloor(1)
    #expect(throws: GroupRecordError.unknownVersion(2)) {
      try GroupRecord(key: record.key, value: [2, 0, 0, 0, 0])
    }
    #expect(throws: GroupRecordError.self) { try GroupRecord(key: record.key, value: nil) }
  }

  /// A count of four thousand million costs nothing.
  @Test func countsAreComparedWithTheBytesAtHand() {
    let key = GroupRecord.assignment(Self.key, "m", nil).key
    #expect(throws: GroupRecordError.truncated) {
      try GroupRecord(key: key, value: [1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])
    }
  }

  /// Random damage never traps, and what is still read is written again as the same state.
  @Test func damageIsRefusedOrRead() throws {
    var random = SeededRandom(seed: 11)
    var read = 0
    for _ in 0..<20_000 {
      let record = Self.samples[random.below(Self.samples.count)].record
      var (key, value) = (record.key, record.value ?? [])
      for _ in 0...random.below(3) {
        if random.chance(30) {
          key[random.below(key.count)] = UInt8(random.below(256))
        } else if !value.isEmpty {
          value[random.below(value.count)] = UInt8(random.below(256))
        }
      }
      guard let found = try? GroupRecord(key: key, value: record.value == nil ? nil : value) else { continue }
      read += 1
      #expect(try GroupRecord(key: found.key, value: found.value) == found)
      if read % 20 == 0 { live(with: found) }
    }
    #expect(read > 100)
  }

  /// A coordinator that finds it in its log traps at nothing.
  private func live(with record: GroupRecord) {
    var coordinator = GroupCoordinator(leaderEpoch: LeaderEpoch(1))
    for sample in Self.samples where !sample.record.isTombstone { coordinator.replay(sample.record) }
    coordinator.replay(record)
    var now = GroupInstant(monotonic: 0, wall: 1_700_000_000_000)
    _ = coordinator.start(at: now)
    let join = JoinRequest(
      group: Self.key, memberID: "m-9", processID: "p", subscription: Subscription(names: ["orders"]))
    _ = coordinator.handle(.request(.join(join, SessionID(1)), ReplyToken(1)), at: now)
    _ = coordinator.handle(.request(.describe(Self.key), ReplyToken(2)), at: now)
    now.monotonic += 3_600_000_000_000
    _ = coordinator.handle(.timer, at: now)
    now.wall += 1 << 40
    _ = coordinator.handle(.expireOffsets, at: now)
  }

  @Test func groupsAreSpreadOverThePartitions() {
    var counts = [Int32: Int]()
    for number in 0..<3200 { counts[GroupKey(tenant: "t", name: "g\(number)").partition(), default: 0] += 1 }
    #expect(counts.count == 32 && counts.values.allSatisfy { (50...160).contains($0) }, "\(counts)")
    // For ever: it is on disk. (Also by a murmur2 in Python.)
    #expect(GroupKey(tenant: "acme", name: "billing").partition() == 22)
  }
}
