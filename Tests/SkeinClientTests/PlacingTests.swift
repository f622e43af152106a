import RecordFormat
import SkeinCore
import Synchronization
import Testing

@testable import SkeinClient

/// Records that are placed outside of the producer's lock: what happens meanwhile must neither lose, repeat nor
/// reorder any, and nothing may be forgotten that was due.
@Suite struct PlacingTests {
  private final class Bench: Sendable {
    let core: ProducerCore
    let topic: Int
    let front: StagingFront
    /// Nobody appends any more.
    let isOver = Mutex(false)

    init(
      linger: Duration = .zero, partitioner: TopicPartitioner = .asked(AssignmentShape()),
      _ change: (inout ProducerConfiguration) -> Void = { _ in }
    ) throws {
      var configuration = ProducerConfiguration()
      configuration.linger = linger
      change(&configuration)
      core = ProducerCore(configuration: try configuration.validated(), random: SeededRandom(3))
      topic = core.register("t", partitioner: partitioner, generation: 7, partitions: 4)
      front = core.front(topic)
      core.streamOpened(producerID: 9, producerEpoch: 0, window: 5, limits: BatchLimits()) {}
    }

    @discardableResult
    func append(_ number: Int, partition: Int32? = nil) throws -> Bool {
      let (key, value) = (UInt64(number % 13), UInt64(number))
      return try withUnsafeBytes(of: key) { key in
        try withUnsafeBytes(of: value) { value in
          try core.append(
            RecordInput(
              key: key, value: value, headers: .none, headerBytes: 0, timestamp: 5, partition: partition,
              tag: UInt64(number)), topic: topic, front: front)
        }
      }
    }

    /// Where a key goes, as the broker sees it.
    static func partitions(_ question: AssignmentQuestion) -> [Int32] {
      question.keys.withUnsafeBytes { keys in
        question.keyLengths.indices.map { at in
          Int32(keys.loadUnaligned(fromByteOffset: at * 8, as: UInt64.self) % 4)
        }
      }
    }

    func answer(_ question: AssignmentQuestion) {
      core.assigned([
        AssignmentAnswer(
          requestID: question.requestID, generation: question.generation,
          partitions: Self.partitions(question))
      ])
    }

    func questions() -> [AssignmentQuestion] {
      _ = core.pumpBegins()
      var all: [AssignmentQuestion] = []
      while let question = core.nextQuestion(now: SystemClock().monotonicNanoseconds + 10_000_000) {
        all.append(question)
      }
      return all
    }

    /// Records that were asked about, answered and taken out for placing.
    func beginPlacing(_ count: Int = 40) throws -> ChunkPlacing {
      for number in 0..<count { try append(number) }
      let question = try #require(questions().first)
      // Left to the application: the loop does nothing yet.
      core.state.withLock { state in
        _ = state.buffer.answered(
          AssignmentAnswer(
            requestID: question.requestID, generation: 7, partitions: Self.partitions(question)), now: 0,
          random: state.machine.random)
      }
      let placing = core.state.withLock { state in
        state.buffer.beginPlacing(topic, clock: core.clock, machine: &state.machine)
      }
      return try #require(placing, "a plain chunk of so many records is placed outside of the lock")
    }

    /// Sends and acknowledges what may leave; the numbers of each partition, in order.
    func sent() throws -> [[Int]] {
      var numbers: [[Int]] = Array(repeating: [], count: 4)
      _ = core.pumpBegins()
      while let sending = core.nextSending() {
        var reader = BatchReader()
        try sending.payload.withUnsafeBytes { bytes in
          _ = try reader.forEach(bytes) {
            guard let value = $0.value else { return }
            numbers[Int(sending.partition)].append(Int(value.loadUnaligned(as: UInt64.self)))
          }
        }
        core.answered([
          (sending.requestID, .appended(BatchAcknowledgement(baseOffset: 0, isDuplicate: false)))
        ])
      }
      return numbers
    }

    static func expected(_ numbers: Range<Int>) -> [[Int]] {
      (0..<4).map { partition in numbers.filter { $0 % 13 % 4 == partition } }
    }
  }

  @Test func theBatchesAreThoseOfOneByOne() throws {
    let bench = try Bench()
    let placing = try bench.beginPlacing()
    #expect(bench.core.hasOutstanding)
    placing.run()
    bench.core.place(bench.topic, after: placing)
    #expect(try bench.sent() == Bench.expected(0..<40))
    #expect(!bench.core.hasOutstanding)
    #expect(bench.core.state.withLock { $0.buffer.used } == 0, "what was charged is given back")
  }

  @Test(arguments: [false, true]) func aFlushMeanwhileWaitsForThem(hadBatches: Bool) async throws {
    let bench = try Bench(linger: .seconds(30))
    // These are open, and taken along.
    if hadBatches {
      for partition in 0..<4 { try bench.append(partition, partition: Int32(partition)) }
    }
    let placing = try bench.beginPlacing()
    let core = bench.core
    let flush = Task { await core.flush() }
    while !core.isFlushing { await Task.yield() }
    _ = try bench.sent()
    #expect(core.isFlushing, "they are on their way to their batches")
    placing.run()
    core.place(bench.topic, after: placing)
    let sent = try bench.sent()
    #expect(sent.joined().count == (hadBatches ? 44 : 40))
    #expect(await flush.value == nil)
    #expect(!core.hasOutstanding)
  }

  @Test func aFlushThatIsGivenUpMeanwhileForgetsNoBatch() async throws {
    let bench = try Bench(linger: .seconds(30))
    for partition in 0..<4 { try bench.append(partition, partition: Int32(partition)) }
    let placing = try bench.beginPlacing()
    let core = bench.core
    let flush = Task { await core.flush() }
    while !core.isFlushing { await Task.yield() }
    flush.cancel()
    #expect(await flush.value?.reason == "CANCELLED")
    placing.run()
    core.place(bench.topic, after: placing)
    #expect(try bench.sent().joined().count == 44, "it was to be sealed, and still is")
  }

  /// The next answered chunk takes the open batches along the moment the one before is placed.
  @Test func aFlushDoesNotForgetWhatTheNextChunkTakesAlong() async throws {
    let bench = try Bench(linger: .seconds(30))
    let core = bench.core
    for number in 0..<40 { try bench.append(number) }
    let first = try #require(bench.questions().first)
    let flush = Task { await core.flush() }
    while !core.isFlushing { await Task.yield() }
    for number in 40..<80 { try bench.append(number) }
    core.state.withLock { $0.buffer.closeStaged() }
    let second = try #require(bench.questions().first)
    // Together, so that one is placed right after the other.
    core.assigned(
      [first, second].map {
        AssignmentAnswer(
          requestID: $0.requestID, generation: $0.generation, partitions: Bench.partitions($0))
      })
    #expect(core.isFlushing, "nothing is acknowledged yet")
    #expect(try Array(bench.sent().joined().sorted().prefix(40)) == Array(0..<40))
    #expect(await flush.value == nil)
  }

  /// Two threads may come to the same answers at once.
  @Test func aSecondThreadPlacesNothingMeanwhile() throws {
    let bench = try Bench()
    let placing = try bench.beginPlacing()
    for number in 40..<80 { try bench.append(number) }
    bench.core.state.withLock { $0.buffer.closeStaged() }
    for question in bench.questions() { bench.answer(question) }
    bench.core.place(bench.topic)
    #expect(try bench.sent().joined().isEmpty, "later records wait for those on their way")
    placing.run()
    bench.core.place(bench.topic, after: placing)
    #expect(try bench.sent() == Bench.expected(0..<80))
  }

  /// While the records of a topic are staged anew, an application's thread finds the short way closed: what it
  /// appends now belongs behind all of them.
  @Test func nobodyGetsAheadOfWhatIsStagedAnew() async throws {
    let bench = try Bench(partitioner: .builtIn(.murmur2))
    for number in 0..<30_000 { try bench.append(number) }
    let isRunning = Mutex(false)
    let isOver = Mutex(false)
    let thread = Task.detached {
      var count = 0
      while !isOver.withLock({ $0 }) {
        let record = RecordInput(
          key: nil, value: nil, headers: .none, headerBytes: 0, timestamp: 5, partition: nil, tag: 0)
        if bench.front.append(record, waiter: nil) { count += 1 }
        isRunning.withLock { $0 = true }
      }
      return count
    }
    while !isRunning.withLock({ $0 }) { await Task.yield() }
    bench.core.refresh(
      bench.topic, TopicChange(partitioner: .asked(AssignmentShape()), generation: 8, partitions: 4))
    isOver.withLock { $0 = true }
    #expect(await thread.value == 0)
    #expect(bench.core.state.withLock { $0.buffer.hasStaged }, "this is what they could have got between")
  }

  @Test func oneLargeRecordLeavesNoLargeMemoryBehind() throws {
    let bench = try Bench { $0.bufferBytes = 1 << 20 }
    let value = [UInt8](repeating: 7, count: 200_000)
    for _ in 0..<10 {
      _ = try value.withUnsafeBytes { value in
        try bench.core.append(
          RecordInput(
            key: UnsafeRawBufferPointer(rebasing: value.prefix(8)), value: value, headers: .none,
            headerBytes: 0, timestamp: 5, partition: nil, tag: 0), topic: bench.topic, front: bench.front)
      }
      for question in bench.questions() { bench.answer(question) }
      _ = bench.questions()
      _ = try bench.sent()
    }
    let kept = bench.core.state.withLock { $0.buffer.topics[bench.topic].staging?.spareBytes }
    #expect(kept == 0, "a chunk of 32 KiB is kept for the next records, one of 200 KB is not")
    #expect(bench.core.state.withLock { $0.buffer.used } == 0)
  }

  @Test func aBatchThatLingeredEnoughMeanwhileLeavesAfterwards() throws {
    let bench = try Bench(linger: .milliseconds(1))
    for partition in 0..<4 { try bench.append(partition, partition: Int32(partition)) }
    let placing = try bench.beginPlacing()
    bench.core.state.withLock { state in
      _ = state.buffer.ripen(now: bench.core.clock.monotonicNanoseconds + 1_000_000_000)
    }
    #expect(try bench.sent().joined().isEmpty, "they are away")
    placing.run()
    bench.core.place(bench.topic, after: placing)
    #expect(try bench.sent().joined().count == 44, "and need no other event to leave")
  }

  @Test func aChangeOfThePartitionerWaitsForThem() throws {
    let bench = try Bench()
    let placing = try bench.beginPlacing()
    bench.core.refresh(
      bench.topic, TopicChange(partitioner: .builtIn(.murmur2), generation: 8, partitions: 4))
    for number in 40..<60 { try bench.append(number) }
    #expect(try bench.sent().joined().isEmpty)
    placing.run()
    bench.core.place(bench.topic, after: placing)
    let sent = try bench.sent()
    #expect(sent.joined().sorted() == Array(0..<60))
    for key in 0..<13 {
      let places = sent.filter { $0.contains { $0 % 13 == key } }
      #expect(places.count == 1, "a key is in one partition")
      #expect(places[0].filter { $0 % 13 == key } == Array(0..<60).filter { $0 % 13 == key }, "in order")
    }
  }

  @Test func aProducerThatFailsMeanwhileFailsThem() throws {
    let ended = Deliveries()
    let bench = try Bench {
      $0.batchBytes = 1024
      $0.bufferBytes = 1 << 20
      $0.deliveryHandler = { ended.add($0) }
    }
    let placing = try bench.beginPlacing(200)
    bench.core.fail(ProducerCore.closedError)
    #expect(ended.tags.isEmpty)
    placing.run()
    #expect(placing.full.count > 4, "of the full ones, too")
    bench.core.place(bench.topic, after: placing)
    #expect(ended.tags.sorted() == Array(0..<200), "each one is told, once")
    #expect(!bench.core.hasOutstanding && bench.core.state.withLock { $0.buffer.used } == 0)
  }

  /// The application's threads and the loop at once: every record arrives once, each thread's in order per key.
  /// - Parameter changes: the partitioner is another one again and again; everything that waits is staged anew.
  @Test(arguments: [false, true]) func threadsDoNotDisturbEachOther(changes: Bool) async throws {
    let bench = try Bench {
      $0.batchBytes = 4096
      $0.bufferBytes = 256 * 1024
    }
    let count = 30_000
    let threads = 2
    let arrived = try await withThrowingTaskGroup(of: [[Int]].self) { group in
      for thread in 0..<threads {
        group.addTask {
          for number in 0..<count {
            let isExplicit = number % 5_000 == 4_999
            while try !bench.append(
              number * threads + thread, partition: isExplicit ? Int32(number % 4) : nil)
            {
              // Full: the loop's turn.
              await Task.yield()
            }
          }
          return []
        }
      }
      group.addTask {
        var all: [[Int]] = Array(repeating: [], count: 4)
        var generation: UInt32 = 7
        while true {
          let wasOver = bench.isOver.withLock { $0 }
          if changes, !wasOver {
            generation += 1
            let change = TopicChange(
              partitioner: .asked(AssignmentShape()), generation: generation, partitions: 4)
            bench.core.refresh(bench.topic, change)
          }
          if wasOver { bench.core.state.withLock { $0.buffer.closeStaged() } }
          for question in bench.questions() { bench.answer(question) }
          for (partition, numbers) in try bench.sent().enumerated() { all[partition] += numbers }
          if wasOver, !bench.core.hasOutstanding { return all }
          await Task.yield()
        }
      }
      for _ in 0..<threads { _ = try await group.next() }
      bench.isOver.withLock { $0 = true }
      return try await group.next() ?? []
    }
    #expect(arrived.joined().sorted() == Array(0..<count * threads))
    for (partition, numbers) in arrived.enumerated() {
      for thread in 0..<threads {
        var last: [Int: Int] = [:]
        for number in numbers where number % threads == thread {
          #expect(last[number % 13] ?? -1 < number, "partition \(partition), key \(number % 13)")
          last[number % 13] = number
        }
      }
    }
    #expect(bench.core.state.withLock { $0.buffer.used } == 0)
  }
}

/// Tags of what has ended.
private final class Deliveries: Sendable {
  private let all = Mutex<[UInt64]>([])
  func add(_ delivery: BatchDelivery) { all.withLock { $0 += delivery.tags } }
  var tags: [UInt64] { all.withLock { $0 } }
}
