import SkeinClient
import SkeinTestKit
import Synchronization
import Testing

/// Members of a group against a real broker.
@Suite(.timeLimit(.minutes(2))) struct ConsumerTests {
  /// Publishes `count` records to each of `partitions`: key = "k<n mod 5>", value = "<n>".
  private func fill(
    _ client: Client, _ topic: String, partitions: Int32, count: Int, creating: Bool = true
  ) async throws {
    if creating { try await client.admin.createTopic(topic, partitions: partitions) }
    var configuration = ProducerConfiguration()
    configuration.batchBytes = 200
    try await client.withProducer(configuration) { producer in
      let topic = try await producer.topic(topic)
      for n in 0..<count {
        for partition in 0..<partitions {
          try await topic.append(
            key: Array("k\(n % 5)".utf8), value: Array("\(n)".utf8), partition: partition)
        }
      }
    }
  }

  /// What somebody has processed, across members.
  private final class Ledger: Sendable {
    let seen = Mutex<[ConsumedPartition: [Int64]]>([:])

    func add(_ record: ConsumedRecord) {
      seen.withLock { $0[record.source, default: []].append(record.offset) }
    }

    var total: Int { seen.withLock { $0.values.reduce(0) { $0 + $1.count } } }
    func offsets(_ topic: String, _ partition: Int32) -> [Int64] {
      seen.withLock { $0[ConsumedPartition(topic, partition)] ?? [] }
    }

    func reaches(_ count: Int) async throws {
      while total < count { try await Task.sleep(for: .milliseconds(5)) }
    }
  }

  @Test func readsWhatIsThereInOrderAndGoesOnWhereItWas() async throws {
    try await TestBroker.run { _, client in
      try await fill(client, "t", partitions: 2, count: 50)
      let first = try await client.consumer(group: "g", topics: ["t"])
      var next: [Int32: Int64] = [:]
      var count = 0
      for try await record in first {
        #expect(record.offset == next[record.partition] ?? 0, "a gap or a repeat")
        next[record.partition] = record.offset + 1
        count += 1
        if count == 70 { break }
      }
      await first.close()
      // The record in hand at the break was not processed.
      let second = try await client.consumer(group: "g", topics: ["t"])
      var rest = 0
      for try await record in second {
        rest += 1
        if record.offset != next[record.partition] ?? 0 {
          #expect(record.offset == (next[record.partition] ?? 0) - 1)
        }
        next[record.partition] = record.offset + 1
        if rest == 31 { break }
      }
      #expect(next == [0: 50, 1: 50])
      await second.close()
    }
  }
}
