import Foundation
import GroupCoordination
import Simulation
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// Members that say anything, in any order: valid, doubled, late, wrong, and no message at all. Whatever it is, the
/// stream goes on or ends with a reason of the catalogue, nobody gets more than was granted, and nothing stays behind.
///
/// `SKEIN_FUZZ_SEEDS=n` runs more lives than CI does.
@Suite(.serialized) struct SubscribeFuzzTests {
  @Test func whateverAMemberSaysIsAnsweredOrRefusedByName() async throws {
    let count = Int(ProcessInfo.processInfo.environment["SKEIN_FUZZ_SEEDS"] ?? "") ?? 60
    let fixture = try await GroupFixture.start(partitions: 3) { $0.groups.times.reconnectGrace = 100 }
    let _: CreateTopicResponse = try await fixture.connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "u", partitions: 1))
    for partition in 0..<3 { try await fixture.publishSingly(20, to: Int32(partition)) }

    var endings: [String: Int] = [:]
    for seed in 1...UInt64(count) {
      // Others of its group come and go meanwhile; in every third life it has the group for itself.
      let group = seed % 3 == 0 ? "alone-\(seed)" : "shared-\(seed % 2)"
      var life = Life(seed: seed, group: group)
      endings[try await life.run(on: fixture.connection), default: 0] += 1
    }
    // Not all of them die at their first word, and not all live.
    #expect((endings["OK"] ?? 0) * 10 > count, "\(endings)")
    #expect(endings.count >= 4, "\(endings)")

    // Everything that they held is free, and the groups work.
    let context = fixture.test.broker.context
    for _ in 0..<500 where context.metrics.subscribeStreams.value > 0 || context.readBudget.reserved > 0 {
      try await Task.sleep(for: .milliseconds(10))
    }
    #expect(context.metrics.subscribeStreams.value == 0 && context.readBudget.reserved == 0)
    for group in ["shared-0", "shared-1", "new"] {
      let member = try await MemberClient.join(fixture.connection, group: group)
      try await member.until { $0.owned == [0, 1, 2] }
      #expect(try await member.commit([0: 20, 1: 20, 2: 20]) == [:])
      try await member.leave()
    }
    await fixture.end()
  }
}

/// One stream from its first word to its last.
private struct Life {
  /// Reasons for which a stream may end, or a partition be refused, whoever speaks nonsense.
  static let expected: Set<Reason> = [
    .invalidRequest, .malformedMessage, .streamNotOpen, .staleMemberEpoch, .unknownMember, .memberExpired,
    .groupLimit, .patternInvalid, .unknownAssignor, .overloaded, .tooManyGaps, .notAssigned, .commitBehind,
    .offsetOutOfRange, .partitionNotFound, .topicNotFound, .unreleasedInstanceID, .noCommittedOffset,
    .memberQuarantined, .clientTooSlow,
  ]
  private static let words = 40

  private let seed: UInt64
  private let group: String
  private let random: SeededRandom
  /// 0: it says nothing that is wrong in itself; 1: now and then; 2: often.
  private let wildness: UInt64
  private var granted = ReadCredit()
  private var commits: [UInt64] = []
  private var hasLeft = false

  init(seed: UInt64, group: String) {
    self.seed = seed
    self.group = group
    random = SeededRandom(seed: seed)
    wildness = seed / 3 % 3
  }

  /// - Returns: the reason of its end; "OK" for none.
  mutating func run(on connection: GRPCConnection) async throws -> String {
    let stream = try await SubscribeClient.open(ConsumerMethod.subscribe, on: connection)
    let member = MemberClient(stream, group, connection.eventLoop)
    let joins = !bad(25)
    if joins { try await stream.send(SubscribeRequest(join: join())) }
    var isOpen = true
    // Some wait until they know what they have.
    if joins, wildness != 1 { isOpen = try await listen(member) { $0.assignment != nil } }
    for _ in 0..<Self.words where isOpen {
      var bytes = request(member).encoded()
      if bad(30) { bytes = altered(bytes) }
      note(try? SubscribeRequest(decoding: bytes))
      try await stream.send(bytes: bytes)
      // Now and then it listens, so that it knows its epoch and what it has.
      if chance(4) {
        try await member.heartbeat()
        isOpen = try await listen(member) { $0.heartbeat != nil }
      }
    }
    try await stream.send(SubscribeRequest(leave: MemberLeave()))
    while let response = try await member.next() { check(response) }
    let status = try await stream.status()
    let last = member.totalMessages
    #expect(last <= granted.messages, "seed \(seed): \(last) records for \(granted.messages)")
    guard status.code != .ok else {
      // What was asked before it left has its answer, one each.
      let missing = commits.filter { member.commits[$0] == nil }
      #expect(missing.isEmpty, "seed \(seed): no answer to the commits \(missing)")
      return "OK"
    }
    let fault = try await stream.fault()
    #expect(Self.expected.contains(fault.reason), "seed \(seed): \(fault)")
    return fault.reason.name
  }

  /// Until it hears that.
  /// - Returns: false when the stream has ended.
  private func listen(_ member: MemberClient, until isIt: (SubscribeResponse) -> Bool) async throws -> Bool {
    while let response = try await member.next() {
      check(response)
      if isIt(response) { return true }
    }
    return false
  }

  private func check(_ response: SubscribeResponse) {
    let errors = (response.committed?.results ?? []) + [response.error].compactMap { $0 }
    for error in errors.compactMap(\.error) where error.code != 0 {
      let fault = Fault(error)
      #expect(Self.expected.contains(fault.reason), "seed \(seed): \(fault)")
    }
  }

  // MARK: What it says

  /// One time in `n`.
  private func chance(_ n: UInt64) -> Bool { random.next() % n == 0 }
  /// One time in `n`, if it is as wild as that.
  private func bad(_ n: UInt64) -> Bool { wildness > 0 && chance(wildness == 1 ? n * 6 : n) }
  private func pick<T>(_ some: [T]) -> T { some[Int(random.next() % UInt64(some.count))] }

  private func join() -> SubscribeJoin {
    var join = SubscribeJoin(group: group, topics: chance(4) ? ["t", "u"] : ["t"])
    if chance(5) { join.decoded = true }
    if chance(5) { join.ackCommitMs = UInt32(random.next() % 20) }
    if chance(5) { join.maxMessageBytes = pick([1, 100, .max]) }
    if chance(8) { join.instanceID = pick(["one", "two"]) }
    if bad(8) { join.reset = Wire.OffsetReset(rawValue: pick([0, 1, 2, 3, 99, -1])) }
    if bad(15) { join.memberID = pick(["m", String(repeating: "x", count: 300)]) }
    if bad(20) { join.patterns = [pick(["u.*", "(", ""])] }
    if bad(20) {
      join.memberID = "m\(random.next())"
      join.resume = SubscribeResume(epoch: epoch(1), positions: positions())
    }
    return join
  }

  private func epoch(_ known: Int32) -> Int32 {
    bad(12) ? pick([0, -1, .max, .min, known &- 1, known &+ 1]) : known
  }
  private func topic() -> String { bad(8) ? pick(["u", "gone", "", "a/b", "\u{0}"]) : "t" }
  private func partition() -> Int32 { bad(12) ? pick([-1, 3, .max, .min]) : Int32(random.next() % 3) }
  private func offset() -> Int64 {
    bad(25) ? pick([-1, .min, .max, 1 << 62, (1 << 62) - 1]) : Int64(random.next() % 22)
  }

  private func positions() -> [PartitionOffset] {
    (0..<Int(random.next() % 4)).map { _ in
      PartitionOffset(topic: topic(), partition: partition(), offset: offset())
    }
  }

  private func lists(_ member: MemberClient) -> [TopicPartitions] {
    if bad(10) {
      return [
        TopicPartitions(topic: topic(), partitions: [partition(), partition()]),
        TopicPartitions(topic: "t", partitions: [0], topicID: chance(3) ? "nonsense" : ""),
      ]
    }
    let kept = member.owned.subtracting(member.revoking).sorted()
    return kept.isEmpty ? [] : [TopicPartitions(topic: "t", partitions: kept)]
  }

  private func request(_ member: MemberClient) -> SubscribeRequest {
    var request = SubscribeRequest()
    repeat {
      switch random.next() % 24 {
      case 0..<5:
        request.credit = ReadCredit(
          messages: pick([0, 1, 3, 10, 40]), bytes: pick([0, 1, 500, 1 << 20, .max]))
      case 5..<9: request.heartbeat = heartbeat(member)
      case 9..<13: request.commit = commit(after: commits.last ?? 0)
      case 13..<16:
        request.ack = MemberAck(
          ranges: (0..<Int(random.next() % 4)).map { _ in
            let first = offset()
            return AckedRange(
              topic: topic(), partition: partition(), first: first,
              last: bad(20) ? offset() : first &+ Int64(random.next() % 3))
          })
      case 16, 17:
        request.seek = MemberSeek(
          number: bad(20) ? 0 : UInt32(random.next() % 50) + 1, topic: topic(), partition: partition(),
          offset: offset())
      case 18, 19: request.pause = MemberPause(pause: lists(member), resume: lists(member))
      case 20, 21:
        request.reclaimed = MemberReclaimed(
          positions: member.positions.sorted { $0.key < $1.key }.map {
            PartitionOffset(topic: "t", partition: $0.key, offset: bad(15) ? offset() : $0.value)
          })
      case 22: if bad(12) { request.join = join() }
      default: if chance(20) { request.leave = MemberLeave(temporary: chance(2)) }
      }
    } while chance(4)
    return request
  }

  private func heartbeat(_ member: MemberClient) -> MemberHeartbeat {
    var heartbeat = MemberHeartbeat(
      epoch: epoch(member.epoch), progress: Wire.Progress(rawValue: pick([0, 1, 2, 3, 77, -5])))
    if chance(2) {
      heartbeat.hasOwned = true
      heartbeat.owned = lists(member)
    }
    if chance(12) { heartbeat.topics = [bad(3) ? "a/b" : pick(["t", "u", "missing"])] }
    if bad(20) { heartbeat.patterns = [pick(["t", "u.*", "(", String(repeating: "a", count: 3_000)])] }
    return heartbeat
  }

  private func commit(after last: UInt64) -> MemberCommit {
    MemberCommit(
      id: bad(25) ? pick([0, last, .max]) : last &+ 1,
      offsets: (0..<Int(random.next() % 3) + (bad(25) ? 0 : 1)).map { _ in
        PartitionOffset(
          topic: topic(), partition: partition(), offset: offset(),
          metadata: bad(30) ? String(repeating: "m", count: 5_000) : "")
      })
  }

  /// Bytes of a message with some of them changed, cut off, or said twice.
  private func altered(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    switch random.next() % 4 {
    case 0: bytes = Array(bytes.prefix(Int(random.next() % UInt64(bytes.count + 1))))
    case 1: bytes += bytes
    case 2: bytes = (0..<Int(random.next() % 60)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    default:
      for _ in 0..<3 where !bytes.isEmpty {
        bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
      }
    }
    return bytes
  }

  /// What of it must have consequences.
  private mutating func note(_ request: SubscribeRequest?) {
    guard let request else { return }
    granted.messages = max(granted.messages, request.credit?.messages ?? 0)
    if let commit = request.commit, !hasLeft { commits.append(commit.id) }
    if request.leave != nil { hasLeft = true }
  }
}
