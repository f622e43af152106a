import SkeinClient
import SkeinTestKit
import Synchronization
import Testing

/// A live topic's partitioner through the SDK, against a real broker. The broker's tests go into what each step does,
/// `Tests/kill` into swaps under load and kills.
@Suite(.timeLimit(.minutes(1))) struct PartitionerTests {
  private static func steps(_ change: PartitionerChange) async throws -> [PartitionerProgress] {
    var all: [PartitionerProgress] = []
    for try await step in change { all.append(step) }
    return all
  }

  private static func reason(_ body: () async throws -> Void) async -> String? {
    do {
      try await body()
      return nil
    } catch { return (error as? SkeinError)?.reason ?? "\(error)" }
  }

  @Test func aChangeTellsItsStepsAndEndsInTheHistory() async throws {
    try await TestBroker.run { _, client in
      let admin = client.admin
      try await admin.createTopic("t", partitions: 3)
      try await client.withProducer { producer in
        let topic = try await producer.topic("t")
        for n in 0..<300 { try await topic.append(key: Array("k\(n)".utf8), value: [1]) }
      }
      let sticky = PartitionerBinding("sticky")
      let difference = try await admin.diffPartitioner("t", sticky)
      #expect(difference.sampled == 300 && difference.moved == 300 && difference.movedShare == 1)
      #expect(difference.before.reduce(0, +) == 300 && difference.after.count == 3)
      let refused = await Self.reason { _ = try await Self.steps(admin.setPartitioner("t", to: sticky)) }
      #expect(refused == "REORDER_NOT_ACCEPTED")
      #expect(
        await Self.reason { _ = try await Self.steps(admin.rollbackPartitioner("t")) }
          == "NO_EARLIER_GENERATION")

      var options = PartitionerChangeOptions()
      options.fence = true
      options.watch = .milliseconds(50)
      let steps = try await Self.steps(admin.setPartitioner("t", to: sticky, options))
      #expect(
        steps.map(\.phase) == [.prepared, .fenced, .committed, .flipped, .drained, .watching, .done])
      #expect(steps[0].sampled == 300 && steps[0].moved == 300)
      #expect(steps.dropFirst().dropFirst().allSatisfy { $0.generation == 2 })
      #expect(steps[3].cuts.reduce(0, +) == 300 && steps[3].pause > .zero)
      #expect(zip(steps, steps.dropFirst()).allSatisfy { $0.elapsed <= $1.elapsed })

      let back = try await Self.steps(admin.rollbackPartitioner("t", options))
      #expect(back.last?.phase == .done)
      let history = try await admin.describeTopic("t").generations
      #expect(history.map(\.generation) == [1, 2, 3] && history.map(\.isFenced) == [false, true, true])
      #expect(history.map(\.binding.partitioner) == ["murmur2", "sticky", "murmur2"])
      #expect(history[1].cuts == steps[3].cuts && history[2].rollsBackTo == 1 && history[2].sha256 == nil)
      #expect(try await admin.topicSummary("t").generation == 3)
    }
  }

  @Test func leavingAfterTheCommitLeavesItRunning() async throws {
    try await TestBroker.run { _, client in
      let admin = client.admin
      try await admin.createTopic("t", partitions: 2)
      var options = PartitionerChangeOptions()
      options.watch = .seconds(3600)
      for try await step in admin.setPartitioner("t", to: PartitionerBinding("round-robin"), options) {
        if step.phase == .watching { break }
      }
      #expect(try await admin.topicSummary("t").partitioner == "round-robin")
      // It goes on: the topic takes no other change, but may go back.
      let second = await Self.reason {
        _ = try await Self.steps(admin.setPartitioner("t", to: PartitionerBinding("sticky"), options))
      }
      #expect(second == "SWAP_IN_PROGRESS")
      options.watch = .milliseconds(1)
      #expect(try await Self.steps(admin.rollbackPartitioner("t", options)).last?.phase == .done)
      options.expectedRevision = 1
      let stale = await Self.reason {
        _ = try await Self.steps(admin.setPartitioner("t", to: PartitionerBinding("sticky"), options))
      }
      #expect(stale == "CONFLICT")
    }
  }

  @Test func whatDoesNotFitIsRefused() async throws {
    try await TestBroker.run { _, client in
      let admin = client.admin
      try await admin.createTopic("t", partitions: 2)
      func refusal(_ binding: PartitionerBinding, topic: String = "t") async -> String? {
        await Self.reason { _ = try await Self.steps(admin.setPartitioner(topic, to: binding)) }
      }
      #expect(await refusal(PartitionerBinding("nope")) == "INVALID_REQUEST")
      #expect(await refusal(PartitionerBinding("com.acme.none@1.0.0")) == "PLUGIN_NOT_FOUND")
      #expect(await refusal(PartitionerBinding("sticky", weights: [1])) == "INVALID_REQUEST")
      #expect(await refusal(PartitionerBinding("sticky"), topic: "none") == "TOPIC_NOT_FOUND")
      let made = await Self.reason {
        try await admin.createTopic("u", partitions: 2, binding: PartitionerBinding("com.acme.none@1.0.0"))
      }
      #expect(made == "PLUGIN_NOT_FOUND")
      try await admin.createTopic("u", partitions: 2, binding: PartitionerBinding("sticky"))
      #expect(try await admin.topicSummary("u").partitioner == "sticky")
    }
  }

  /// The generation changes again and again, under a fence, while records are on their way.
  @Test func aLiveProducerFollowsEveryChange() async throws {
    try await TestBroker.run { _, client in
      let admin = client.admin
      try await admin.createTopic("t", partitions: 3)
      let isOver = Mutex(false)
      let sent = Task {
        var count = 0
        try await client.withProducer { producer in
          let topic = try await producer.topic("t")
          while !isOver.withLock({ $0 }) || count < 1000 {
            try await topic.append(key: Array("k\(count % 50)".utf8), value: Array("\(count)".utf8))
            count += 1
            if count % 20 == 0 { try await Task.sleep(for: .milliseconds(1)) }
          }
        }
        return count
      }
      var options = PartitionerChangeOptions()
      options.fence = true
      // The same mapping each time, so that the order of keys can be checked whole.
      for _ in 0..<10 {
        for try await _ in admin.setPartitioner("t", to: PartitionerBinding("murmur2"), options) {}
      }
      isOver.withLock { $0 = true }
      let count = try await sent.value
      var reading = ReaderConfiguration()
      reading.stopsAtEnd = true
      let reader = try await client.reader(topic: "t", reading)
      var last: [[UInt8]: Int] = [:]
      var found = 0
      while let batch = try await reader.nextBatch() {
        for record in try batch.records() {
          let number = try #require(Int(String(decoding: record.value ?? [], as: UTF8.self)))
          #expect(number > last[record.key ?? []] ?? -1, "record \(number) is repeated or out of order")
          last[record.key ?? []] = number
          found += 1
        }
      }
      await reader.close()
      #expect(found == count)
      #expect(try await admin.topicSummary("t").generation == 11)
    }
  }
}
