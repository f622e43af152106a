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
