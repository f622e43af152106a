import SkeinClient
import Synchronization
import Testing

/// Publishes `count` records to each of `partitions`: key = "k<n mod 5>", value = "<n>", some records a batch.
func fillGroupTopic(
  _ client: Client, _ topic: String, partitions: Int32, count: Int, creating: Bool = true
) async throws {
  if creating { try await client.admin.createTopic(topic, partitions: partitions) }
  var configuration = ProducerConfiguration()
  configuration.batchBytes = 200
  try await client.withProducer(configuration) { producer in
    let topic = try await producer.topic(topic)
    for n in 0..<count {
      for partition in 0..<partitions {
        try await topic.append(key: Array("k\(n % 5)".utf8), value: Array("\(n)".utf8), partition: partition)
      }
    }
  }
}

/// What a group's members have processed. Any thread.
final class Ledger: Sendable {
  private let seen = Mutex<[ConsumedPartition: [Int64]]>([:])

  func add(_ record: ConsumedRecord) {
    seen.withLock { $0[record.source, default: []].append(record.offset) }
  }

  var total: Int { seen.withLock { $0.values.reduce(0) { $0 + $1.count } } }
  var partitions: Set<Int32> { seen.withLock { Set($0.keys.map(\.partition)) } }

  func offsets(_ partition: Int32, topic: String = "t") -> [Int64] {
    seen.withLock { $0[ConsumedPartition(topic, partition)] ?? [] }
  }

  /// Every offset below `count` of each partition, once, in order.
  func isExactly(_ partitions: Int32, _ count: Int) -> Bool {
    (0..<partitions).allSatisfy { offsets($0) == Array(0..<Int64(count)) }
  }
}

/// Waits for a condition; a test's own time limit ends a wait that is in vain.
func eventually(_ condition: () async throws -> Bool) async throws {
  while !(try await condition()) { try await Task.sleep(for: .milliseconds(5)) }
}

extension Admin {
  /// What a group has committed of a topic, by partition.
  func committed(_ group: String) async throws -> [Int32: Int64] {
    Dictionary(
      try await fetchOffsets(group: group).map { ($0.partition, $0.offset) },
      uniquingKeysWith: { first, _ in first })
  }
}
