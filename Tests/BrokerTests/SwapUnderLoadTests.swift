import CommitLog
import RecordFormat
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// Publishers go on while the partitioner of their topic changes again and again. Each places its records by
/// asking (`assign`), sends one batch to each partition, and follows refusals as an SDK does.
@Suite(.serialized) struct SwapUnderLoadTests {
  private static let plugIn = "com.acme.shift@1.0.0"
  private static let partitions: Int32 = 3
  private static let keys = 8
  private static let swaps = 12

  /// Writes "key/number" in the order of the numbers of each key, until `stop` says so.
  private struct Publisher {
    let number: Int
    let stream: PublishClient
    let producer: Int64
    var sequences = [Int32](repeating: 0, count: Int(SwapUnderLoadTests.partitions))
    var generation: UInt32 = 1
    var request: UInt64 = 0
    /// Acknowledged, of each key.
    var written = [Int](repeating: 0, count: SwapUnderLoadTests.keys)
    var refusals: [Reason: Int] = [:]

    init(_ number: Int, _ connection: GRPCConnection) async throws {
      self.number = number
      let (stream, opened) = try await StreamTests.open(connection)
      self.stream = stream
      self.producer = opened.producerID
    }

    private func key(_ key: Int) -> [UInt8] { Array("\(number)-\(key)".utf8) }

    /// One more record of each key, all acknowledged when it returns.
    mutating func round() async throws {
      var left = Array(0..<SwapUnderLoadTests.keys)
      while !left.isEmpty {
        guard let places = try await ask(left) else { continue }
        let (asked, under) = (left, generation)
        for partition in Set(places).sorted() {
          let keys = zip(asked, places).filter { $0.1 == partition }.map(\.0)
          guard try await send(keys, to: partition, under) else { continue }
          left.removeAll { keys.contains($0) }
        }
      }
    }

    /// Nil: the generation is another one meanwhile.
    private mutating func ask(_ keys: [Int]) async throws -> [Int32]? {
      request += 1
      let bytes = keys.map(key)
      try await stream.send(
        PublishStreamRequest(
          assign: AssignRequest(
            requestID: request, topic: "t", generation: generation,
            keyLengths: bytes.map { UInt32($0.count) + 1 }, keys: SharedBytes(bytes.flatMap { $0 }))))
      let answer = try #require(try await stream.next()?.assigned.first)
      guard let error = answer.error else { return answer.partitions }
      try follow(Fault(error))
      return nil
    }

    /// False: refused; nothing was appended and no sequence consumed.
    private mutating func send(_ keys: [Int], to partition: Int32, _ generation: UInt32) async throws -> Bool
    {
      var builder = BatchBuilder()
      for key in keys {
        try builder.append(
          key: self.key(key), value: Array("\(written[key])".utf8), timestamp: 1_700_000_000_000)
      }
      let batch = try builder.finish(
        producerID: producer, producerEpoch: 0, baseSequence: sequences[Int(partition)])
      request += 1
      try await stream.send(
        PublishStreamRequest(
          target: StreamTests.target(request, partition: partition, generation: generation), batch: batch))
      let ack = try #require(try await StreamTests.acks(stream, 1).first)
      if let error = ack.error {
        try follow(Fault(error))
        return false
      }
      #expect(!ack.duplicate)
      sequences[Int(partition)] += Int32(keys.count)
      for key in keys { written[key] += 1 }
      return true
    }

    private mutating func follow(_ fault: Fault) throws {
      refusals[fault.reason, default: 0] += 1
      switch fault.reason {
      case .partitionerChanged: generation = UInt32(fault.metadata["generation"] ?? "") ?? 0
      case .swapInProgress, .partitionerUnavailable: break
      default: throw fault
      }
    }
  }

  private struct Stored {
    let partition: Int32
    let offset: Int64
    let key: [UInt8]
    let number: Int
  }

  /// With a fence: nothing lost, nothing twice, each key in order for a reader that reads up to the cuts first,
  /// and each record where the partitioner of its generation puts it.
  @Test(arguments: ["sync", "memory"])
  func keysStayInOrderUnderAFence(_ durability: String) async throws {
    let fakes = FakePartitioners([Self.plugIn: .shifted(1)])
    let test = try await TestBroker.start { $0.partitionerSource = fakes }
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create,
      CreateTopicRequest(name: "t", partitions: Self.partitions, settings: ["durability": durability]))
    let isOver = Counter()
    let rounds = Counter()
    let publishers = try await withThrowingTaskGroup(of: Publisher.self) { group in
      for number in 0..<3 {
        group.addTask {
          let connection = try await test.connect()
          var publisher = try await Publisher(number, connection)
          while isOver.value == 0 {
            try await publisher.round()
            rounds.add(1)
          }
          try await publisher.stream.cancel()
          await connection.close()
          return publisher
        }
      }
      for swap in 0..<Self.swaps {
        while rounds.value < 3 * swap { await Task.yield() }
        let next = swap % 2 == 0 ? Self.plugIn : "murmur2"
        let done = try await SwapTests.bind(connection, next, fence: true, watch: 1)
        #expect(done.fault == nil && done.told.last?.phase == .done)
      }
      isOver.add(1)
      return try await group.reduce(into: []) { $0.append($1) }
    }
    let generations = try await SwapTests.describe(connection).generations
    #expect(generations.count == Self.swaps + 1 && generations.dropFirst().allSatisfy(\.fenced))

    // Somebody was in the way, else this shows nothing.
    let met = publishers.reduce(into: [Reason: Int]()) { $0.merge($1.refusals) { $0 + $1 } }
    #expect(met[.partitionerChanged] ?? 0 > 0)

    let stored = try await read(connection)
    let total = publishers.flatMap(\.written).reduce(0, +)
    #expect(stored.count == total && total > 200)

    // As a reader that goes from cut to cut.
    func generation(_ record: Stored) -> Int {
      generations.lastIndex { $0.cuts.isEmpty || $0.cuts[Int(record.partition)] <= record.offset } ?? 0
    }
    var next: [[UInt8]: Int] = [:]
    for record in stored.sorted(by: {
      (generation($0), $0.partition, $0.offset) < (generation($1), $1.partition, $1.offset)
    }) {
      #expect(next[record.key, default: 0] == record.number)
      next[record.key] = record.number + 1
      let place = record.key.withUnsafeBytes { Murmur2.partition($0, count: Self.partitions) }
      let shift: Int32 = generations[generation(record)].partitioner == "murmur2" ? 0 : 1
      #expect(record.partition == (place + shift) % Self.partitions)
    }
    for publisher in publishers {
      for (key, count) in publisher.written.enumerated() {
        #expect(next[Array("\(publisher.number)-\(key)".utf8)] == count)
      }
    }
    #expect(fakes.live == 0)
    await connection.close()
    await test.remove()
  }

  /// Without a fence nothing is lost or doubled either, and no batch is of two generations.
  @Test func nothingIsLostWithoutAFence() async throws {
    let fakes = FakePartitioners([Self.plugIn: .shifted(1)])
    let test = try await TestBroker.start { $0.partitionerSource = fakes }
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: Self.partitions))
    let isOver = Counter()
    let (total, sent) = try await withThrowingTaskGroup(of: (Int, Int).self) { group in
      group.addTask {
        let connection = try await test.connect()
        var publisher = try await Publisher(0, connection)
        while isOver.value == 0 { try await publisher.round() }
        try await publisher.stream.cancel()
        await connection.close()
        return (publisher.written.reduce(0, +), 0)
      }
      // Thin clients notice nothing but the time.
      group.addTask {
        let connection = try await test.connect()
        var count = 0
        while isOver.value == 0 {
          let records = (0..<5).map {
            Record(key: SharedBytes(Array("u-\($0)".utf8)), value: SharedBytes(Array("\(count / 5)".utf8)))
          }
          let response: PublishResponse = try await connection.call(
            ProducerMethod.publish, PublishRequest(topic: "t", records: records))
          #expect(response.results.allSatisfy { $0.error == nil })
          count += 5
        }
        await connection.close()
        return (count, count)
      }
      for swap in 0..<Self.swaps {
        let done = try await SwapTests.bind(
          connection, swap % 2 == 0 ? Self.plugIn : "murmur2", acceptReorder: true, watch: 1)
        #expect(done.fault == nil)
      }
      isOver.add(1)
      return try await group.reduce(into: (0, 0)) { $0 = ($0.0 + $1.0, $0.1 + $1.1) }
    }
    let stored = try await read(connection)
    #expect(stored.count == total && sent > 0)
    #expect(Set(stored.map { "\($0.key) \($0.number)" }).count == total)
    #expect(fakes.live == 0)
    await connection.close()
    await test.remove()
  }

  private func read(_ connection: GRPCConnection) async throws -> [Stored] {
    var stored: [Stored] = []
    for partition in 0..<Self.partitions {
      var offset: Int64 = 0
      while true {
        let fetched: FetchResponse = try await connection.call(
          ConsumerMethod.fetch,
          FetchRequest(
            partitions: [FetchPartition(topic: "t", partition: partition, offset: offset)], decoded: true))
        let part = try #require(fetched.partitions.first)
        guard part.nextOffset > offset else { break }
        for record in part.records where record.offset >= offset {
          stored.append(
            Stored(
              partition: partition, offset: record.offset, key: record.key?.array ?? [],
              number: Int(String(decoding: record.value?.array ?? [], as: UTF8.self)) ?? -1))
        }
        offset = part.nextOffset
      }
    }
    return stored
  }
}
