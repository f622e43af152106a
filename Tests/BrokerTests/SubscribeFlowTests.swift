import Foundation
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// What a member is sent, and when not.
@Suite(.serialized) struct SubscribeFlowTests {
  @Test func creditsAreKeptToWithinABatch() async throws {
    let fixture = try await GroupFixture.start(partitions: 4)
    for partition in 0..<4 { try await fixture.publishSingly(30, to: Int32(partition)) }
    // Four partitions are read at once; together they get seven records, each a batch of its own.
    let member = try await MemberClient.join(
      fixture.connection, credit: ReadCredit(messages: 7, bytes: 1 << 30))
    try await member.until { $0.values.count == 7 }
    try await member.beat()
    #expect(member.values.count == 7 && member.totalMessages == 7)
    // A repeat grants nothing.
    try await member.credit(messages: 7, bytes: 5)
    try await member.beat()
    #expect(member.values.count == 7)
    try await member.leave()

    // Bytes: the last batch may go below, and no other.
    let size = try StreamTests.batch(1).count
    let other = try await MemberClient.join(
      fixture.connection, group: "h", credit: ReadCredit(messages: 1 << 30, bytes: UInt64(size * 10 + 1)))
    try await other.until { $0.values.count >= 11 }
    try await other.beat()
    #expect(other.values.count == 11 && other.totalBytes == UInt64(size * 11))
    try await other.leave()
    await fixture.end()
  }

  /// What was sent and not begun of a partition that goes is the member's to grant again: exactly that many come of
  /// others, and nothing of the one that goes. In messages, and in bytes.
  @Test(arguments: [false, true])
  func whatIsClawedBackCanBeGrantedAgain(_ isOfBytes: Bool) async throws {
    let fixture = try await GroupFixture.start(partitions: 2) { $0.eventLoops = 1 }
    for partition in 0..<2 { try await fixture.publishSingly(20, to: Int32(partition)) }
    let size = UInt64(try StreamTests.batch(1).count)
    func grant(_ records: UInt64) -> ReadCredit {
      isOfBytes
        ? ReadCredit(messages: 1 << 30, bytes: records * size)
        : ReadCredit(messages: records, bytes: 1 << 30)
    }
    // Messages of three records or so, of partitions that begin together: they take turns.
    let before = try await MemberClient.join(fixture.connection, credit: nil)
    try await before.until { $0.owned == [0, 1] }
    #expect(try await before.commit([0: 0, 1: 0]) == [:])
    try await before.leave()
    let a = try await MemberClient.join(fixture.connection, credit: grant(10)) { $0.maxMessageBytes = 250 }
    try await a.until { $0.totalMessages == 10 }
    let b = try await MemberClient.open(fixture.connection)
    try await a.until { $0.revoking.count == 1 }
    let gone = try #require(a.revoking.first)
    let sent = a.received[gone] ?? []
    try #require(sent.count > 2)
    #expect(a.assignment?.reclaim.first?.offset == Int64(sent.count))
    // It began two of them; the rest it dropped, so that it may grant as many again.
    let dropped = sent.count - 2
    let kept = a.received[1 - gone]?.count ?? 0
    try await a.stream.send(
      SubscribeRequest(
        commit: MemberCommit(id: 900, offsets: [PartitionOffset(topic: "t", partition: gone, offset: 2)]),
        reclaimed: MemberReclaimed(positions: [PartitionOffset(topic: "t", partition: gone, offset: 2)])))
    try await a.release()
    try await a.stream.send(SubscribeRequest(credit: grant(10 + UInt64(dropped))))
    try await a.until { ($0.received[1 - gone]?.count ?? 0) == kept + dropped }
    try await a.beat()
    #expect(a.received[gone]?.count == sent.count && a.received[1 - gone]?.count == kept + dropped)
    #expect(a.totalBytes == size * UInt64(10 + dropped))
    try await b.until { $0.received[gone]?.count == 18 }
    #expect(b.received[gone] == Array(2..<20))
    // It cannot have stopped behind what it was sent.
    try await b.stream.send(
      SubscribeRequest(
        reclaimed: MemberReclaimed(positions: [PartitionOffset(topic: "t", partition: gone, offset: 21)])))
    #expect(try await b.ending() == .invalidRequest)
    try await a.leave()
    await fixture.end()
  }

  @Test func aPausedPartitionIsNotSentAndStaysTheMembers() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.owned == [0, 1] }
    try await member.stream.send(
      SubscribeRequest(pause: MemberPause(pause: [TopicPartitions(topic: "t", partitions: [0, 77])])))
    try await member.beat()
    try await fixture.publish(3, to: 0..<2)
    try await member.until { $0.values.count == 3 }
    try await member.beat(owned: [0, 1])
    #expect(member.received == [1: [0, 1, 2]])
    try await member.stream.send(
      SubscribeRequest(pause: MemberPause(resume: [TopicPartitions(topic: "t", partitions: [0])])))
    try await member.until { $0.received[0] == [0, 1, 2] }
    try await member.leave()
    await fixture.end()
  }

  @Test func aSeekGoesOnElsewhereAndSaysFromWhereOn() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    try await fixture.publish(10, to: 0..<1)  // one batch
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count == 10 }
    func seek(_ number: UInt32, _ offset: Int64) async throws -> ReadBatches {
      try await member.stream.send(
        SubscribeRequest(seek: MemberSeek(number: number, topic: "t", partition: 0, offset: offset)))
      return try await member.first(\.read)
    }
    let inside = try await seek(1, 7)
    #expect(inside.seek == 1 && inside.baseOffset == 0 && inside.fromOffset == 7 && inside.nextOffset == 10)
    #expect(member.received[0]?.suffix(3) == [7, 8, 9])
    // An older number is a repeat.
    try await member.stream.send(
      SubscribeRequest(seek: MemberSeek(number: 1, topic: "t", partition: 0, offset: 0)))
    let back = try await seek(5, 9)
    #expect(back.seek == 5 && back.fromOffset == 9)
    try await member.beat()
    #expect(member.received[0]?.suffix(1) == [9])
    try await member.stream.send(
      SubscribeRequest(seek: MemberSeek(number: 1, topic: "t", partition: 3, offset: 0)))
    #expect(Fault(try #require(try await member.first(\.error).error)).reason == .notAssigned)
    try await member.leave()
    await fixture.end()
  }

  @Test func thinClientsGetRecords() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    try await fixture.publish(5, to: 0..<1)
    _ = try await first(fixture) { try await $0.commit([0: 3]) == [:] }
    let member = try await MemberClient.join(fixture.connection) { $0.decoded = true }
    let response = try await member.first { $0.read == nil ? nil : $0 }
    #expect(response.batches.isEmpty && response.records?.records.map(\.offset) == [3, 4])
    #expect(response.records?.records.first?.value?.array == bytes("0-3"))
    try await member.leave()
    await fixture.end()
  }

  /// What is small as it is stored comes in pieces that stock clients take.
  @Test func decodedRecordsComeInPieces() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    let value = SharedBytes([UInt8](repeating: 7, count: 100_000))
    let _: PublishResponse = try await fixture.connection.call(
      ProducerMethod.publish,
      PublishRequest(topic: "t", records: (0..<20).map { _ in Record(value: value, partition: 0) }))
    let member = try await MemberClient.join(fixture.connection) { $0.decoded = true }
    var next: Int64 = 0
    while next < 20 {
      let response = try await member.first { $0.read == nil ? nil : $0 }
      let offsets = response.records?.records.map(\.offset) ?? []
      #expect(
        offsets.count <= 3 && offsets.first == next && response.read?.nextOffset == (offsets.last ?? 0) + 1)
      next = response.read?.nextOffset ?? 20
    }
    #expect(member.totalMessages == 20)
    try await member.leave()
    await fixture.end()
  }

  private func first(_ fixture: GroupFixture, _ body: (MemberClient) async throws -> Bool) async throws {
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count > 0 }
    #expect(try await body(member))
    try await member.leave()
  }

  // MARK: Where a partition begins

  @Test func latestIsDecidedOnce() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    try await fixture.publish(4, to: 0..<1)
    let member = try await MemberClient.join(fixture.connection) { $0.reset = .latest }
    try await fixture.publish(1, to: 0..<1, first: 4)
    while try await fixture.committed()[0] == nil { try await member.beat() }
    let begun = try #require(try await fixture.committed()[0])
    #expect(begun == 4 || begun == 5)
    try await member.cancel()
    await fixture.end()
  }

  @Test func withoutACommitSomebodyMaySayWhere() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    try await fixture.publish(4, to: 0..<1)
    let member = try await MemberClient.join(fixture.connection) { $0.reset = .none }
    let error = try await member.first(\.error)
    #expect(Fault(try #require(error.error)).reason == .noCommittedOffset)
    #expect(error.topic == "t" && error.partition == 0)
    try await member.beat()
    #expect(member.values.isEmpty)
    try await member.stream.send(
      SubscribeRequest(seek: MemberSeek(number: 1, topic: "t", partition: 0, offset: 2)))
    try await member.until { $0.values == ["0-2", "0-3"] }
    try await member.leave()
    await fixture.end()
  }

  /// G18: the log has gone past what the group committed. It is told, and nothing is skipped by itself.
  @Test func aCommitOutsideTheLogIsToldAndNotJumpedOver() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    try await fixture.publish(10, to: 0..<2)
    try await first(fixture) { member in
      #expect(try await member.commit([0: 11, 1: 2]) == [0: .offsetOutOfRange])
      return try await member.commit([0: 2]) == [:]
    }
    let _: DeleteRecordsResponse = try await fixture.connection.call(
      TopicsMethod.deleteRecords,
      DeleteRecordsRequest(topic: "t", partitions: [DeleteRecordsPartition(partition: 0, beforeOffset: 6)]))
    let member = try await MemberClient.join(fixture.connection)
    let error = try await member.first(\.error)
    let fault = Fault(try #require(error.error))
    #expect(fault.reason == .offsetOutOfRange && error.partition == 0)
    #expect(fault.metadata["log_start_offset"] == "6" && fault.metadata["high_watermark"] == "10")
    try await member.until { $0.received[1]?.count == 8 }
    try await member.beat()
    #expect(member.received[0] == nil)
    try await member.stream.send(
      SubscribeRequest(seek: MemberSeek(number: 1, topic: "t", partition: 0, offset: 6)))
    try await member.until { $0.received[0] == [6, 7, 8, 9] }
    try await member.leave()
    await fixture.end()
  }

  // MARK: The end

  /// Stream rule 4: what was asked is answered, the member is told to come back, and does.
  @Test func aDrainSaysGoAwayAndLosesNothing() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    try await fixture.publish(5, to: 0..<2)
    let member = try await MemberClient.join(fixture.connection) { $0.ackCommitMs = 3_600_000 }
    try await member.until { $0.values.count == 10 }
    try await member.ack([(0, 0, 2)])
    let id = try await member.send(commit: [1: 5])
    try await member.beat()
    await fixture.test.stop()
    var goAway: GoAway?
    while let response = try await member.next() { goAway = response.goAway ?? goAway }
    #expect(goAway?.resume == true && goAway?.reason == "draining")
    #expect(try await member.stream.status().code == .ok)
    #expect(member.commits[id]?.results.isEmpty == true)

    let again = try await TestBroker.start(folder: fixture.test.folder, identities: fixture.test.issuer)
    let connection = try await again.connect()
    let resumed = try await member.resume(connection)
    let restarted = GroupFixture(test: again, connection: connection)
    try await restarted.publish(1, to: 0..<2, first: 5)
    try await resumed.until { $0.values.count == 2 }
    #expect(Set(resumed.values) == ["0-5", "1-5"] && resumed.id == member.id)
    #expect(try await restarted.committed() == [0: 3, 1: 5])
    try await resumed.leave()
    await fixture.connection.close()
    await restarted.end()
  }
}
