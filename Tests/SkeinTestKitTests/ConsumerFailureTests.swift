import SkeinClient
import SkeinTestKit
import Synchronization
import Testing

/// Brokers that go away, members that hang, positions outside the log.
@Suite(.timeLimit(.minutes(2))) struct ConsumerFailureTests {
  @Test(arguments: [true, false]) func aBrokerThatRestartsIsBorneWithoutAGapOrARepeat(isKilled: Bool)
    async throws
  {
    try await TestBroker.run { broker, client in
      try await fillGroupTopic(client, "t", partitions: 3, count: 300)
      let all = Ledger()
      let calls = Mutex(0)
      var configuration = ConsumerConfiguration()
      configuration.bufferRecords = 50
      configuration.commitInterval = .milliseconds(50)
      configuration.rebalance.lost = { _ in calls.withLock { $0 += 1 } }
      let consumer = try await client.consumer(group: "g", topics: ["t"], configuration)
      let id = consumer.memberID
      let task = Task {
        for try await record in consumer {
          all.add(record)
          try await Task.sleep(for: .milliseconds(1))
        }
      }
      try await eventually { all.total > 200 }
      if isKilled { await broker.kill() } else { await broker.stop() }
      try await broker.restart()
      try await eventually { all.total >= 900 }
      #expect(all.isExactly(3, 300))
      #expect(consumer.memberID == id && calls.withLock { $0 } == 0, "the membership went on")
      // The last record counts when the loop asks for the next.
      try await eventually { consumer.processed.values.allSatisfy { $0.offset == 300 } }
      await consumer.close()
      try await task.value
      #expect(try await client.admin.committed("g") == [0: 300, 1: 300, 2: 300])
    }
  }

  @Test func whoHangsIsRemovedAndJoinsAgainAndWhoAsksForTimeIsNot() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 10)
      let lost = Mutex(0)
      var configuration = ConsumerConfiguration()
      configuration.processingDeadline = .seconds(2)
      configuration.rebalance.lost = { _ in lost.withLock { $0 += 1 } }
      let consumer = try await client.consumer(group: "g", topics: ["t"], configuration)
      let id = consumer.memberID
      var offsets: [Int64] = []
      for try await record in consumer {
        offsets.append(record.offset)
        if offsets.count == 3 {
          for _ in 0..<12 {
            try await Task.sleep(for: .milliseconds(250))
            consumer.extend()
          }
          #expect(lost.withLock { $0 } == 0 && consumer.memberID == id)
          try await eventually { lost.withLock { $0 } == 1 }
          // It has joined again, and gets the partition again.
          try await eventually { consumer.assignment.count == 1 }
          #expect(consumer.memberID != id)
        }
        if offsets.count > 4, record.offset == 9 { break }
      }
      #expect(offsets.starts(with: [0, 1, 2]) && offsets.suffix(7) == [3, 4, 5, 6, 7, 8, 9])
      #expect(Set(offsets) == Set(0..<10))
      await consumer.close()
    }
  }

  @Test func aPositionOutsideTheLogIsToldOrMovedAsThePolicySays() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 50)
      let place = ConsumedPartition("t", 0)
      for group in ["told", "moved"] {
        let consumer = try await client.consumer(group: group, topics: ["t"])
        try await eventually { consumer.assignment == [place] }
        try await consumer.commit([place: ReadPosition(offset: 10)])
        await consumer.close()
      }
      _ = try await client.admin.deleteRecords("t", before: [0: 30])

      let told = try await client.consumer(group: "told", topics: ["t"])
      var failure: SkeinError?
      do {
        for try await _ in told { Issue.record("a record came") }
      } catch { failure = error as? SkeinError }
      #expect(failure?.reason == "OFFSET_OUT_OF_RANGE" && failure?.metadata["log_start_offset"] == "30")
      try told.seek([place: ReadPosition(offset: 30)])
      for try await record in told {
        #expect(record.offset == 30)
        break
      }
      await told.close()

      var configuration = ConsumerConfiguration()
      configuration.outOfRange = .earliest
      let moved = try await client.consumer(group: "moved", topics: ["t"], configuration)
      for try await record in moved {
        #expect(record.offset == 30)
        break
      }
      await moved.close()
    }
  }

  @Test func whereAGroupBegins() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 20)
      var configuration = ConsumerConfiguration()
      configuration.start = .none
      let none = try await client.consumer(group: "none", topics: ["t"], configuration)
      await #expect {
        for try await _ in none { Issue.record("a record came") }
      } throws: {
        ($0 as? SkeinError)?.reason == "NO_COMMITTED_OFFSET"
      }
      await none.close()

      configuration.start = .latest
      let latest = try await client.consumer(group: "latest", topics: ["t"], configuration)
      try await eventually { try await client.admin.committed("latest") == [0: 20] }
      try await fillGroupTopic(client, "t", partitions: 1, count: 5, creating: false)
      for try await record in latest {
        #expect(record.offset == 20)
        break
      }
      await latest.close()
    }
  }

  @Test func wrongJoinsAreRefused() async throws {
    try await TestBroker.run { _, client in
      func reason(
        _ group: String = "g", topics: [String] = ["t"], patterns: [String] = [],
        _ change: (inout ConsumerConfiguration) -> Void = { _ in }
      ) async -> String? {
        var configuration = ConsumerConfiguration()
        change(&configuration)
        do throws(SkeinError) {
          let consumer = try await client.consumer(
            group: group, topics: topics, patterns: patterns, configuration)
          await consumer.close()
          return nil
        } catch { return error.reason }
      }
      #expect(await reason(patterns: ["("]) == "PATTERN_INVALID")
      #expect(await reason { $0.assignor = "best" } == "UNKNOWN_ASSIGNOR")
      #expect(await reason("__g") == "INVALID_REQUEST")
      #expect(await reason(topics: []) == "INVALID_REQUEST")
      #expect(await reason { $0.processingDeadline = .zero } == "INVALID_REQUEST")
    }
  }

  @Test func aClosedClientEndsItsConsumers() async throws {
    try await TestBroker.run { broker, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 5)
      let other = try broker.client()
      let consumer = try await other.consumer(group: "g", topics: ["t"])
      let all = Ledger()
      let task = Task { for try await record in consumer { all.add(record) } }
      try await eventually { all.total == 5 }
      await other.close()
      await #expect(throws: SkeinError.self) { try await task.value }
      await #expect(throws: SkeinError.self) { try await consumer.commit() }
      await consumer.close()
    }
  }
}
