import Broker
import Foundation
import SkeinCore
import Testing
import Transport
import Wire

/// Bad input in a loop and readers that do not read: memory stays where it was.
@Suite(.serialized) struct BoundedMemoryTests {
  /// Resident bytes of this process, broker and client together.
  static func resident() throws -> Int {
    let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
    let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return pages * 4096
  }

  /// The median growth of five rounds: what leaks grows in each, what other tests of this process take and give back
  /// does not.
  private static func growth(_ round: () async throws -> Void) async throws -> Int {
    var grown: [Int] = []
    for _ in 0..<5 {
      let before = try resident()
      try await round()
      grown.append(try resident() - before)
    }
    return grown.sorted()[2]
  }

  /// Calls of every kind of bad input, round after round; after a warm-up nothing more is kept.
  @Test func refusedCallsKeepNothing() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let garbage = OutboundMessage(head: [0xff, 0xff, 0xff, 0x01, 0x02])
    func round(_ count: Int) async throws {
      for _ in 0..<count {
        let malformed = try? await connection.unary(path: ProducerMethod.publish, message: garbage)
        #expect(malformed == nil)
        let unknown = await fault {
          let _: PublishResponse = try await connection.call(
            ProducerMethod.publish,
            PublishRequest(topic: "nope", records: [Record(value: SharedBytes([1]))]))
        }
        #expect(unknown?.reason == .topicNotFound)
        let invalid = await fault {
          let _: CreateTopicResponse = try await connection.call(
            TopicsMethod.create, CreateTopicRequest(name: "a/b", partitions: -1))
        }
        #expect(invalid?.reason == .invalidRequest)
        let fetched: FetchResponse = try await connection.call(
          ConsumerMethod.fetch,
          FetchRequest(partitions: [FetchPartition(topic: "t", partition: 0, offset: 99)]))
        #expect(fetched.partitions.first?.error != nil)
      }
    }
    try await round(300)
    let grown = try await Self.growth { try await round(500) }
    #expect(grown < 8 << 20, "grew by \(grown) bytes in 2,000 refused calls")
    await connection.close()
    await test.remove()
  }

  @Test func refusedBatchesOnOneStreamKeepNothing() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let (stream, _) = try await StreamTests.open(connection)
    let junk = SharedBytes([UInt8](repeating: 0x5a, count: 2_000))
    func round(_ count: Int) async throws {
      for number in 0..<count {
        try await stream.send(
          PublishStreamRequest(target: StreamTests.target(UInt64(number)), batch: junk))
        if number % 50 == 49 {
          let acks = try await StreamTests.acks(stream, 50)
          #expect(acks.allSatisfy { $0.error != nil })
        }
      }
    }
    try await round(500)
    let grown = try await Self.growth { try await round(3_000) }
    #expect(grown < 8 << 20, "grew by \(grown) bytes in 3,000 refused batches")
    try await stream.cancel()
    await connection.close()
    await test.remove()
  }

  /// 20 readers with boundless credit that never take what arrives: each holds its window and the
  /// transport's bounded queue, not the log.
  @Test func readersThatDoNotReadHoldABoundedAmount() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let (producer, _) = try await StreamTests.open(connection)
    for number in 0..<60 {
      try await producer.send(
        PublishStreamRequest(
          target: StreamTests.target(UInt64(number + 1)),
          batch: try StreamTests.batch(1, size: 1 << 20)))
      _ = try await StreamTests.acks(producer, 1)
    }
    let slow = try await test.connect()
    let before = try Self.resident()
    var readers: [ReadClient] = []
    for _ in 0..<20 {
      let reader = try await ReadClient.open(ConsumerMethod.read, on: slow, releases: false)
      try await reader.send(
        ReadRequest(
          open: ReadOpen(partitions: [FetchPartition(topic: "t", partition: 0)]),
          credit: ReadCredit(messages: 1 << 40, bytes: 1 << 40)))
      readers.append(reader)
    }
    try await Task.sleep(for: .milliseconds(1_500))
    // 20 × 60 MiB lie in the log. One connection window (16 MiB, held by the client) and per stream
    // the queue (1 MiB) with one message above it.
    let grown = try Self.resident() - before
    #expect(grown < 160 << 20, "20 idle readers hold \(grown) bytes")
    // And others are served meanwhile.
    let fetched: FetchResponse = try await connection.call(
      ConsumerMethod.fetch, FetchRequest(partitions: [FetchPartition(topic: "t", partition: 0)]))
    #expect(fetched.partitions.first?.batches.isEmpty == false)
    await slow.close()
    await connection.close()
    await test.remove()
  }
}
