import Broker
import SkeinCore
import Testing
import Transport
import Wire

@Suite(.serialized) struct TopicsTests {
  @Test func createDescribeListDelete() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let created: CreateTopicResponse = try await connection.call(
      TopicsMethod.create,
      CreateTopicRequest(name: "orders", partitions: 6, settings: ["retention.ms": "60000"]))
    #expect(TopicID(created.topicID) != nil)

    let described: DescribeTopicResponse = try await connection.call(
      TopicsMethod.describe, DescribeTopicRequest(name: "orders"))
    #expect(described.topic?.topicID == created.topicID)
    #expect(described.topic?.generation == 1)
    #expect(described.partitions.map(\.partition) == Array(0..<6))
    #expect(described.partitions.allSatisfy { $0.highWatermark == 0 && $0.error == nil })
    let retention = described.settings.first { $0.name == "retention.ms" }
    #expect(retention?.value == "60000" && retention?.source == "topic")
    #expect(retention?.defaultValue == "604800000")
    #expect(described.settings.first { $0.name == "durability" }?.source == "default")

    for name in ["a", "b", "c"] {
      let _: CreateTopicResponse = try await connection.call(
        TopicsMethod.create, CreateTopicRequest(name: name, partitions: 1))
    }
    var names: [String] = []
    var token = ""
    repeat {
      let page: ListTopicsResponse = try await connection.call(
        TopicsMethod.list, ListTopicsRequest(pageSize: 2, pageToken: token))
      #expect(page.topics.count <= 2)
      names += page.topics.map(\.name)
      token = page.nextPageToken
    } while !token.isEmpty
    #expect(names == ["a", "b", "c", "orders"])

    let _: DeleteTopicResponse = try await connection.call(
      TopicsMethod.delete, DeleteTopicRequest(name: "orders"))
    let gone = await fault {
      let _: DescribeTopicResponse = try await connection.call(
        TopicsMethod.describe, DescribeTopicRequest(name: "orders"))
    }
    #expect(gone?.reason == .topicNotFound)
    // The same name made again is another topic.
    let again: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "orders", partitions: 1))
    #expect(again.topicID != created.topicID)
    await connection.close()
    await test.remove()
  }

  @Test func everyProblemComesAtOnce() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let refused = await fault {
      let _: CreateTopicResponse = try await connection.call(
        TopicsMethod.create,
        CreateTopicRequest(
          name: "no/slash", partitions: -3, partitioner: "best",
          settings: ["retention.ms": "soon", "nonsense": "1"]))
    }
    #expect(refused?.reason == .invalidRequest)
    #expect(
      Set(refused?.violations.map(\.field) ?? []) == [
        "name", "partitions", "partitioner", "settings[retention.ms]", "settings[nonsense]",
      ])
    for name in ["", ".", "..", "__internal", "a b", String(repeating: "x", count: 250), "ü"] {
      let refused = await fault {
        let _: CreateTopicResponse = try await connection.call(
          TopicsMethod.create, CreateTopicRequest(name: name, partitions: 1))
      }
      #expect(refused?.violations.first?.field == "name", "\(name)")
    }
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "taken", partitions: 1))
    let exists = await fault {
      let _: CreateTopicResponse = try await connection.call(
        TopicsMethod.create, CreateTopicRequest(name: "taken", partitions: 1))
    }
    #expect(exists?.reason == .topicExists)
    await connection.close()
    await test.remove()
  }

  @Test func topicsSurviveARestart() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let created: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "kept", partitions: 3, partitioner: "round-robin"))
    await connection.close()
    await test.stop()
    let again = try await TestBroker.start(folder: test.folder, identities: test.issuer)
    let second = try await again.connect()
    let described: DescribeTopicResponse = try await second.call(
      TopicsMethod.describe, DescribeTopicRequest(name: "kept"))
    #expect(described.topic?.topicID == created.topicID)
    #expect(described.topic?.partitioner == "round-robin")
    #expect(described.partitions.count == 3)
    await second.close()
    await again.remove()
  }

  @Test func whoHasNoPrincipalIsRefused() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect(try test.issuer.client("stranger"))
    let refused = await fault {
      let _: ListTopicsResponse = try await connection.call(TopicsMethod.list, ListTopicsRequest())
    }
    #expect(refused?.reason == .unauthenticated)
    await connection.close()
    await test.remove()
  }
}
