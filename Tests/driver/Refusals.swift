import SkeinCore
import Transport
import Wire

/// Bad input of every kind, in turn; each call must be refused, by its status or by its item's error.
struct Refusals: Workload {
  private let calls: [(path: String, message: [UInt8])]

  /// - Parameter topic: an existing topic of at most 1,000 partitions, with nothing at offset 2^40.
  init(topic: String) {
    let record = Record(value: SharedBytes([1]))
    calls = [
      (ProducerMethod.publish, [0xff, 0xff, 0xff, 0x01, 0x02]),
      (ProducerMethod.publish, PublishRequest(topic: "not-there", records: [record]).encoded()),
      (ProducerMethod.publish, PublishRequest(topic: "a/b\u{1f}", records: [record]).encoded()),
      (ProducerMethod.publish, PublishRequest(topic: topic, records: [Record(timestampMs: -5)]).encoded()),
      (ProducerMethod.publish, PublishRequest(topic: topic, records: [Record(partition: 5_000)]).encoded()),
      (TopicsMethod.create, CreateTopicRequest(name: "..", partitions: -1, partitioner: "?").encoded()),
      (
        TopicsMethod.create,
        CreateTopicRequest(name: "x", partitions: 1, settings: ["retention.ms": "soon", "nope": "1"])
          .encoded()
      ),
      (TopicsMethod.describe, DescribeTopicRequest(name: "not-there").encoded()),
      (TopicsMethod.delete, [0x0a, 0x02, 0xc3, 0x28]),
      (
        ConsumerMethod.fetch,
        FetchRequest(partitions: [FetchPartition(topic: topic, partition: 0, offset: 1 << 40)]).encoded()
      ),
      (
        ConsumerMethod.fetch,
        FetchRequest(partitions: [FetchPartition(topic: topic, partition: -1, offset: -7)]).encoded()
      ),
      ("/skein.v1.Topics/Nothing", []),
    ]
  }

  func call(_ number: Int) -> (path: String, message: [UInt8]) { calls[number % calls.count] }

  func isExpected(_ number: Int, _ status: GRPCStatus, reply: SharedBytes?) -> Bool {
    guard status.code == .ok else { return status.code != .unavailable && status.code != .unknown }
    guard let reply else { return false }
    switch calls[number % calls.count].path {
    case ProducerMethod.publish:
      guard let response = try? PublishResponse(decoding: reply) else { return false }
      return !response.results.isEmpty && response.results.allSatisfy { $0.error != nil }
    case ConsumerMethod.fetch:
      guard let response = try? FetchResponse(decoding: reply) else { return false }
      return !response.partitions.isEmpty && response.partitions.allSatisfy { $0.error != nil }
    default: return false
    }
  }
}
