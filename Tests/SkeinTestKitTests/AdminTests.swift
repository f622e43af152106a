import SkeinClient
import SkeinTestKit
import Testing

/// `Admin` against a real broker; the broker's own tests go into what each call does.
@Suite(.timeLimit(.minutes(1))) struct AdminTests {
  @Test func topicsAreUpdatedGrownAndDescribed() async throws {
    try await TestBroker.run { _, client in
      let admin = client.admin
      try await admin.createTopic("t", partitions: 2, settings: ["retention.ms": "60000"])
      let before = try await admin.topicSummary("t")
      #expect(before.partitionCount == 2 && before.generation == 1 && before.created > 0)
      let dry = try await admin.updateTopic("t", set: ["retention.ms": "70000"], validateOnly: true)
      #expect(dry.changed.map(\.value) == ["70000"])
      #expect(try await admin.topicSummary("t").revision == before.revision)
      let update = try await admin.updateTopic(
        "t", set: ["retention.ms": "70000", "compression.type": "zstd"], expectedRevision: before.revision)
      #expect(Set(update.changed.map(\.name)) == ["retention.ms", "compression.type"])
      #expect(update.topic.revision > before.revision)
      do {
        try await admin.updateTopic("t", reset: ["retention.ms"], expectedRevision: before.revision)
        Issue.record("an old revision was accepted")
      } catch let error as SkeinError { #expect(error.reason == "CONFLICT") }
      let grown = try await admin.addPartitions("t", upTo: 5)
      #expect(grown.partitionCount == 5 && grown.generation == 2)
      let description = try await admin.describeTopic("t")
      #expect(description.partitions.count == 5 && description.partitions.allSatisfy(\.isOnline))
      let setting = try #require(description.settings.first { $0.name == "retention.ms" })
      #expect(setting.value == "70000" && setting.source == "topic" && !setting.effect.isEmpty)
      // A producer that was told nothing compresses as the topic says.
      try await client.withProducer {
        _ = try await $0.send(to: "t", value: [UInt8](repeating: 1, count: 5_000), partition: 0)
      }
      let reader = try await client.reader(topic: "t", partitions: [0])
      let batch = try #require(try await reader.nextBatch())
      let codec = try batch.bytes.withUnsafeBytes { (bytes) throws(BatchError) in
        try BatchHeader(parsing: bytes).codec
      }
      #expect(codec == .zstd)
      await reader.close()
    }
  }

  @Test func healthIsSaidAndADrainIsFollowedBySdkAndWatchers() async throws {
    try await TestBroker.run { broker, client in
      try await client.admin.createTopic("t", partitions: 3)
      let health = try await client.admin.health()
      #expect(health.level == .ok && health.broker == .ready && health.partitions == 3)
      #expect(health.directories.count == 1 && health.directories[0].state == .online)

      var watch = client.admin.watch().makeAsyncIterator()
      var change = try #require(try await watch.next())
      #expect(change.isReset && change.topics.map(\.name) == ["t"])
      while !change.isSynced { change = try #require(try await watch.next()) }
      try await client.admin.addPartitions("t", upTo: 4)
      repeat { change = try #require(try await watch.next()) } while change.topics.isEmpty
      #expect(change.topics.map(\.partitionCount) == [4] && !change.isReset)

      // The watch goes on over a restart.
      try await broker.restart()
      try await client.admin.createTopic("later")
      var names: Set<String> = ["t"]
      while !names.contains("later") {
        change = try #require(try await watch.next())
        if change.isReset { names = [] }
        names.formUnion(change.topics.map(\.name))
      }
      #expect(names == ["t", "later"])

      do {
        try await client.admin.drain(broker: 99)
        Issue.record("another broker was drained")
      } catch let error as SkeinError { #expect(error.reason == "INVALID_REQUEST") }
      let progress = try await client.admin.drain(broker: 1, reason: "a test")
      #expect(!progress.hadBegun && progress.deadline > .zero)
      await broker.stop()
    }
  }

  @Test func lossIsAcceptedOnlyWhereThereIsOne() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("t", partitions: 1)
      let results = try await client.admin.acceptLoss("t", partitions: [0], dryRun: true)
      #expect(results.map(\.error?.reason) == ["PARTITION_ONLINE"])
    }
  }

  @Test func anUnknownSettingIsNamed() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("t")
      do {
        try await client.admin.updateTopic("t", set: ["retention.millis": "1"])
        Issue.record("accepted")
      } catch let error as SkeinError {
        #expect(error.reason == "INVALID_REQUEST" && error.outcome == .definite && !error.isRetriable)
        #expect(error.violations.first?.field.contains("retention.millis") == true)
      }
    }
  }
}
