import SkeinClient
import SkeinTestKit
import Synchronization
import Testing

/// How consumers end, or go on, when something is wrong for long: they throw what is the matter, and never hang. (The
/// suite's time limit is the judge of the latter.)
@Suite(.timeLimit(.minutes(1))) struct ConsumerEndingTests {
  private func reason(_ body: () async throws -> Void) async -> String? {
    do {
      try await body()
      return nil
    } catch { return (error as? SkeinError)?.reason ?? "\(error)" }
  }

  private func loop(_ consumer: Consumer) async -> String? {
    await reason { for try await _ in consumer {} }
  }

  /// A client that gives up soon.
  private func hasty(_ broker: TestBroker, _ patience: Duration = .milliseconds(300)) throws -> Client {
    var configuration = try broker.configuration()
    configuration.unreachableTimeout = patience
    return try Client(configuration)
  }

  // MARK: Cancelling

  @Test func aTaskThatIsCancelledWhileItJoinsReturnsAtOnce() async throws {
    try await TestBroker.run { broker, client in
      await broker.stop()
      let task = Task { try await client.consumer(group: "g", topics: ["t"]) }
      try await Task.sleep(for: .milliseconds(50))
      let clock = ContinuousClock()
      let cancelled = clock.now
      task.cancel()
      #expect(await reason { _ = try await task.value } == "CANCELLED")
      #expect(clock.now - cancelled < .seconds(2))
      try await broker.restart()
      // Cancelled at any moment: no member stays behind.
      for milliseconds in 0..<10 {
        let task = Task { try await client.consumer(group: "g", topics: ["t"]) }
        try await Task.sleep(for: .milliseconds(milliseconds))
        task.cancel()
        if let consumer = try? await task.value { await consumer.close() }
      }
      try await eventually { await memberCount(client) == 0 }
    }
  }

  private func memberCount(_ client: Client) async -> Int {
    (try? await client.admin.describeGroup("g").members.count) ?? 0
  }

  @Test func loopsAndHandlersThatAreCancelledWithoutABrokerEnd() async throws {
    try await TestBroker.run { broker, client in
      try await fillGroupTopic(client, "t", partitions: 2, count: 20)
      var configuration = ConsumerConfiguration()
      configuration.closeTimeout = .milliseconds(300)
      // The last commit cannot be answered: the loops wait for it, so long and no longer.
      configuration.commitInterval = .seconds(60)
      let loops = try await client.consumer(group: "a", topics: ["t"], configuration)
      let handlers = try await client.consumer(group: "b", topics: ["t"], configuration)
      let all = Ledger()
      let first = Task { for try await record in loops { all.add(record) } }
      let second = Task {
        try await handlers.run(concurrency: 2, ordering: .key) { record in
          all.add(record)
          // A handler that does nothing but wait hears of it, too.
          if all.total >= 80 { try? await Task.sleep(for: .seconds(60)) }
        }
      }
      try await eventually { all.total >= 80 }
      await broker.stop()
      first.cancel()
      second.cancel()
      #expect(await reason { try await first.value } == nil)
      #expect(await reason { try await second.value } == nil)
    }
  }

  @Test func aConsumerThatIsDroppedWithoutABrokerHoldsUpNobody() async throws {
    try await TestBroker.run { broker, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 20)
      let other = try broker.client()
      func use() async throws {
        let consumer = try await other.consumer(group: "g", topics: ["t"])
        for try await _ in consumer { break }
        await broker.kill()
      }
      try await use()
      await other.close()
    }
  }

  // MARK: The broker is away

  @Test func whoFindsNoBrokerForLongThrowsItInEveryLoop() async throws {
    try await TestBroker.run { broker, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 20)
      let other = try hasty(broker)
      let consumer = try await other.consumer(group: "g", topics: ["t"])
      let all = Ledger()
      let waiting = Task { for try await record in consumer { all.add(record) } }
      let idle = Task { for try await record in consumer { all.add(record) } }
      try await eventually { all.total == 20 }
      await broker.stop()
      #expect(await reason { try await waiting.value } == "UNREACHABLE")
      #expect(await reason { try await idle.value } == "UNREACHABLE")
      #expect(await loop(consumer) == "UNREACHABLE")
      #expect(await reason { try await consumer.commit() } == "CANCELLED")
      await consumer.close()
      #expect(await reason { _ = try await other.consumer(group: "g", topics: ["t"]) } == "UNREACHABLE")
      await other.close()
    }
  }

  /// Longer than the session, shorter than the patience: it stops, and joins again as another member.
  @Test func aBrokerThatIsAwayLongerThanTheSessionIsBorne() async throws {
    var options = TestBrokerOptions()
    options.groupSession = .seconds(1)
    try await TestBroker.run(options) { broker, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 10)
      let lost = Mutex<[ConsumedPartition]>([])
      var configuration = ConsumerConfiguration()
      configuration.commitInterval = .milliseconds(20)
      configuration.rebalance.lost = { partitions in lost.withLock { $0 += partitions } }
      let consumer = try await client.consumer(group: "g", topics: ["t"], configuration)
      let all = Ledger()
      let task = Task { for try await record in consumer { all.add(record) } }
      try await eventually { try await client.admin.committed("g") == [0: 10] }
      let id = consumer.memberID
      await broker.stop()
      try await eventually { lost.withLock { $0 } == [ConsumedPartition("t", 0)] }
      #expect(consumer.assignment.isEmpty)
      try await broker.restart()
      try await fillGroupTopic(client, "t", partitions: 1, count: 5, creating: false)
      try await eventually { all.total == 15 }
      #expect(all.isExactly(1, 15) && consumer.memberID != id)
      await consumer.close()
      try await task.value
    }
  }

  // MARK: Refusals

  @Test func refusedCredentialsAreToldAtTheStartAndWhileItRuns() async throws {
    try await TestBroker.run { broker, client in
      try await TestBroker.run { stranger, _ in
        try await fillGroupTopic(client, "t", partitions: 1, count: 5)
        var configuration = try broker.configuration()
        // A certificate that another authority has signed.
        let own = configuration.tls
        let foreign = try stranger.identity(principal: "admin")
        var wrong = foreign
        wrong.ca = own.ca
        let other = try Client(configuration)
        let consumer = try await other.consumer(group: "g", topics: ["t"])
        other.replaceIdentity(wrong)
        try await broker.restart()
        #expect(await loop(consumer) == "UNAUTHENTICATED")
        await consumer.close()
        await other.close()

        configuration.tls = wrong
        let refused = try Client(configuration)
        #expect(
          await reason { _ = try await refused.consumer(group: "g", topics: ["t"]) } == "UNAUTHENTICATED")
        await refused.close()
        // A broker that we do not trust: waiting does not help.
        configuration.tls = own
        configuration.tls.ca = foreign.ca
        let suspicious = try Client(configuration)
        #expect(
          await reason { _ = try await suspicious.consumer(group: "g", topics: ["t"]) } == "UNREACHABLE")
        await suspicious.close()
      }
    }
  }

  @Test func aProcessInQuarantineIsToldSoOrComesBack() async throws {
    var options = TestBrokerOptions()
    options.groupSession = .seconds(1)
    options.groupQuarantine = .seconds(2)
    try await TestBroker.run(options) { broker, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 10)
      var configuration = ConsumerConfiguration()
      configuration.processingDeadline = .seconds(1)
      let lost = Mutex(0)
      configuration.rebalance.lost = { _ in lost.withLock { $0 += 1 } }
      let patient = try hasty(broker)
      let consumer = try await patient.consumer(group: "g", topics: ["t"], configuration)
      // Members that vanish, again and again, of one process.
      for _ in 0..<5 {
        let other = try broker.client()
        let member = try await other.consumer(group: "g", topics: ["t"])
        await other.close()
        withExtendedLifetime(member) {}
        consumer.extend()
      }
      try await eventually {
        consumer.extend()
        return try await client.admin.describeGroup("g").members.count == 1
      }
      let refused = try hasty(broker)
      #expect(
        await reason { _ = try await refused.consumer(group: "g", topics: ["t"]) } == "MEMBER_QUARANTINED")
      await refused.close()
      // Who was a member before goes on when it may again, however short its patience for brokers is.
      var offsets: [Int64] = []
      for try await record in consumer {
        offsets.append(record.offset)
        if offsets.count == 1 { try await eventually { lost.withLock { $0 } == 1 } }
        if record.offset == 9 { break }
      }
      #expect(offsets == [0] + Array(0..<10))
      await consumer.close()
      await patient.close()
    }
  }

  @Test func aNameThatIsTakenIsRefusedAndItsHolderGoesOn() async throws {
    try await TestBroker.run { broker, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 5)
      var configuration = ConsumerConfiguration()
      configuration.instanceID = "a"
      let holder = try await client.consumer(group: "g", topics: ["t"], configuration)
      let other = try hasty(broker)
      #expect(
        await reason { _ = try await other.consumer(group: "g", topics: ["t"], configuration) }
          == "UNRELEASED_INSTANCE_ID")
      await other.close()
      for try await record in holder where record.offset == 4 { break }
      await holder.close()
    }
  }

  @Test func aPatternThatIsRefusedLaterEndsIt() async throws {
    try await TestBroker.run { _, client in
      let consumer = try await client.consumer(group: "g", topics: ["t"])
      try consumer.subscribe(topics: [], patterns: ["("])
      #expect(await loop(consumer) == "PATTERN_INVALID")
    }
  }

  // MARK: Topics

  @Test func aTopicThatIsDeletedIsLostAndOneThatIsMadeAgainBeginsAnew() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 2, count: 10)
      try await fillGroupTopic(client, "u", partitions: 1, count: 10)
      let lost = Mutex<[ConsumedPartition]>([])
      var configuration = ConsumerConfiguration()
      configuration.rebalance.lost = { partitions in lost.withLock { $0 += partitions } }
      configuration.rebalance.revoked = { partitions in lost.withLock { $0 += partitions } }
      let consumer = try await client.consumer(group: "g", topics: ["t", "u"], configuration)
      let all = Ledger()
      let task = Task { for try await record in consumer { all.add(record) } }
      try await eventually { all.total == 30 }
      try await client.admin.deleteTopic("t")
      try await eventually { consumer.assignment == [ConsumedPartition("u", 0)] }
      #expect(Set(lost.withLock { $0 }) == [ConsumedPartition("t", 0), ConsumedPartition("t", 1)])
      #expect(
        await reason { try await consumer.commit([ConsumedPartition("t", 0): ReadPosition(offset: 1)]) }
          == "NOT_ASSIGNED")
      try await fillGroupTopic(client, "t", partitions: 2, count: 10)
      try await eventually { all.total == 50 }
      #expect(all.offsets(0) == Array(0..<10) + Array(0..<10), "another topic, from its beginning")
      await consumer.close()
      #expect(await reason { try await task.value } == nil)
    }
  }

  // MARK: Acknowledging

  @Test func whatIsAcknowledgedIsCommittedAndTheRestComesAgain() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 20)
      var configuration = ConsumerConfiguration()
      configuration.acknowledges = true
      let held = Mutex<[ConsumedRecord]>([])
      let box = Mutex<Consumer?>(nil)
      // The last chance: what is finished here counts.
      configuration.rebalance.revoked = { _ in
        for record in held.withLock({ $0 }) where record.offset == 4 {
          box.withLock { $0 }?.acknowledge(record)
        }
      }
      let consumer = try await client.consumer(group: "g", topics: ["t"], configuration)
      box.withLock { $0 = consumer }
      for try await record in consumer {
        held.withLock { $0.append(record) }
        if record.offset == 9 { break }
      }
      for record in held.withLock({ $0 }).reversed() where record.offset != 4 && record.offset != 7 {
        consumer.acknowledge(record)
      }
      try await eventually { try await client.admin.committed("g") == [0: 4] }
      await consumer.close()
      box.withLock { $0 = nil }
      #expect(try await client.admin.committed("g") == [0: 7], "4 was acknowledged in time, 7 was not")
    }
  }
}
