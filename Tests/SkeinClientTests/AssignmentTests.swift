import RecordFormat
import SkeinCore
import Synchronization
import Testing

@testable import SkeinClient

/// Topics whose partitioner the broker has: what is asked, when, and what becomes of the answers. The world of
/// `RepartitionTests` says that nothing is lost, repeated or reordered.
@Suite struct AssignmentTests {
  private final class Bench: Sendable {
    let core: ProducerCore
    let topic: Int
    let deliveries = Mutex<[BatchDelivery]>([])

    init(
      shape: AssignmentShape = AssignmentShape(), partitions: Int32 = 4,
      _ change: (inout ProducerConfiguration) -> Void = { _ in }
    ) throws {
      var configuration = ProducerConfiguration()
      configuration.linger = .zero
      change(&configuration)
      core = ProducerCore(configuration: try configuration.validated(), random: SeededRandom(3))
      topic = core.register("t", partitioner: .asked(shape), generation: 7, partitions: partitions)
    }

    func open() {
      core.streamOpened(producerID: 9, producerEpoch: 0, window: 5, limits: BatchLimits()) {}
    }

    func append(
      _ text: String, key: String? = nil, partition: Int32? = nil, headers: RecordHeaders = RecordHeaders(),
      timestamp: Int64 = 5, waiter: RecordWaiter? = nil
    ) throws -> Bool {
      try Array(text.utf8).withUnsafeBytes { value in
        try Array((key ?? "").utf8).withUnsafeBytes { key_ in
          try headers.withSequence { sequence in
            try core.append(
              RecordInput(
                key: key == nil ? nil : key_, value: value, headers: sequence,
                headerBytes: sequence.sizeInBytes, timestamp: timestamp, partition: partition, tag: 0),
              topic: topic, front: core.front(topic), waiter: waiter)
          }
        }
      }
    }

    /// - Parameter now: a little ahead, so that few records need not wait for more.
    func questions(now: Int64 = SystemClock().monotonicNanoseconds + 10_000_000) -> [AssignmentQuestion] {
      _ = core.pumpBegins()
      var all: [AssignmentQuestion] = []
      while let question = core.nextQuestion(now: now) { all.append(question) }
      return all
    }

    func answer(_ question: AssignmentQuestion, _ partitions: [Int32], generation: UInt32 = 7) {
      core.assigned([
        AssignmentAnswer(requestID: question.requestID, generation: generation, partitions: partitions)
      ])
    }

    func refuse(_ question: AssignmentQuestion, _ reason: Reason) {
      core.assigned([
        AssignmentAnswer(requestID: question.requestID, generation: 7, error: SkeinError(reason, "no"))
      ])
    }

    /// What may leave now: partition and values of each batch.
    func batches() throws -> [String] {
      _ = core.pumpBegins()
      var all: [String] = []
      while let sending = core.nextSending() {
        var values: [String] = []
        var reader = BatchReader()
        try sending.payload.withUnsafeBytes { bytes in
          _ = try reader.forEach(bytes) {
            values.append($0.value.map { String(decoding: $0, as: UTF8.self) } ?? "-")
          }
        }
        all.append("\(sending.partition)/\(sending.generation): \(values.joined(separator: " "))")
      }
      return all
    }
  }

  @Test func recordsGoWhereTheBrokerSays() throws {
    let bench = try Bench()
    bench.open()
    for (value, key) in [("a", "k1"), ("b", "k2"), ("c", "k1"), ("d", "")] {
      _ = try bench.append(value, key: key)
    }
    _ = try bench.append("e")
    let questions = bench.questions()
    #expect(questions.count == 1 && questions[0].generation == 7 && questions[0].topic == "t")
    // An empty key is not a missing one.
    #expect(questions[0].keyLengths == [3, 3, 3, 1, 0])
    #expect(String(decoding: questions[0].keys.array, as: UTF8.self) == "k1k2k1")
    #expect(try bench.batches().isEmpty, "nothing leaves before the answer")
    bench.answer(questions[0], [3, 1, 3, 2, -1])
    #expect(try bench.batches().sorted() == ["0/7: e", "1/7: b", "2/7: d", "3/7: a c"])
    // What the broker leaves to us sticks to a partition for a batch, and then to the next one.
    _ = try bench.append("f")
    _ = try bench.append("g")
    bench.answer(bench.questions()[0], [-1, -1])
    #expect(try bench.batches() == ["1/7: f g"])
  }

  @Test func aFlushWaitsForAnswersAndForBatches() async throws {
    let bench = try Bench { $0.linger = .seconds(30) }
    bench.open()
    _ = try bench.append("a", key: "k")
    let question = bench.questions()[0]
    _ = try bench.append("b", key: "k")
    let core = bench.core
    let flush = Task { await core.flush() }
    while !core.isFlushing { await Task.yield() }
    bench.answer(question, [1])
    #expect(core.isFlushing, "the second one has no partition yet")
    let second = bench.questions()
    // What comes after the flush is not waited for.
    _ = try bench.append("c", key: "k")
    bench.answer(second[0], [1])
    #expect(core.isFlushing, "nothing is acknowledged")
    #expect(try bench.batches() == ["1/7: a b"], "without waiting for linger")
    core.answered([(1, .appended(BatchAcknowledgement(baseOffset: 0, isDuplicate: false)))])
    #expect(!core.isFlushing)
    #expect(await flush.value == nil)
  }

  @Test func headersAndTimestampsAreSentWhenTheyAreAskedFor() throws {
    let bench = try Bench(shape: AssignmentShape(headers: ["region", "no"], timestamps: true))
    bench.open()
    var headers = RecordHeaders()
    try headers.append(name: "other", value: [1])
    try headers.append(name: "region", value: Array("eu".utf8))
    try headers.append(name: "region", value: Array("us".utf8))
    _ = try bench.append("a", key: "k", headers: headers, timestamp: 77)
    _ = try bench.append("x", partition: 2, timestamp: 78)
    _ = try bench.append("b", timestamp: 79)
    let question = try #require(bench.questions().first)
    #expect(
      question.headerLengths == [3, 0, 0, 0], "the first of a name counts; explicit ones are not asked about")
    #expect(question.headerValues.array == Array("eu".utf8))
    #expect(question.timestamps == [77, 79])
    bench.answer(question, [0, 1])
    #expect(try bench.batches().sorted() == ["0/7: a", "1/7: b", "2/7: x"])
  }

  @Test func anExplicitPartitionNeitherWaitsForNothingNorOvertakes() throws {
    let bench = try Bench()
    bench.open()
    _ = try bench.append("a", partition: 1)
    #expect(try bench.batches() == ["1/7: a"], "nothing is staged: it goes at once")
    _ = try bench.append("b", key: "k")
    let first = bench.questions()
    _ = try bench.append("c", key: "k", partition: 1)
    #expect(throws: SkeinError.self) { try bench.append("x", partition: 4) }
    #expect(try bench.batches().isEmpty, "what is staged goes first")
    bench.answer(first[0], [1])
    #expect(bench.questions().isEmpty, "there is nothing to ask about an explicit partition")
    #expect(try bench.batches() == ["1/7: b c"])
  }

  @Test func aFewRecordsWaitForMoreWithinLinger() throws {
    let bench = try Bench { $0.linger = .seconds(30) }
    bench.open()
    let before = SystemClock().monotonicNanoseconds
    _ = try bench.append("a", key: "k")
    #expect(bench.questions(now: before).isEmpty)
    let due = try #require(bench.core.pumpBegins().due)
    #expect(due >= before + 2_000_000 && due <= SystemClock().monotonicNanoseconds + 2_000_000)
    #expect(bench.questions(now: due).map(\.keyLengths.count) == [1])
    // Many do not.
    let many = try Bench { $0.linger = .seconds(30) }
    many.open()
    for _ in 0..<256 { _ = try many.append("a", key: "k") }
    #expect(many.questions(now: before).map(\.keyLengths.count) == [256])
  }

  @Test func whatGathersWhileAQuestionIsOutGoesWithTheNextOne() throws {
    let bench = try Bench()
    bench.open()
    _ = try bench.append("a", key: "k")
    let first = bench.questions()
    for _ in 0..<100 { _ = try bench.append("b", key: "k") }
    #expect(bench.questions().isEmpty)
    bench.answer(first[0], [0])
    #expect(bench.questions().map(\.keyLengths.count) == [100])
  }

  @Test func fullChunksAreAskedAboutAtOnceWithinTheWindow() throws {
    let bench = try Bench()
    bench.open()
    // 10,000 records a question, and no more than the window of them.
    for _ in 0..<185_000 { _ = try bench.append("", key: "") }
    let questions = bench.questions()
    #expect(questions.map(\.keyLengths.count) == Array(repeating: 10_000, count: Staging.window))
    // The second answer alone moves nothing.
    bench.answer(questions[1], Array(repeating: 1, count: 10_000))
    #expect(try bench.batches().isEmpty)
    bench.answer(questions[0], Array(repeating: 0, count: 10_000))
    #expect(bench.questions().map(\.keyLengths.count) == [10_000, 10_000])
    #expect(try bench.batches().contains { $0.hasPrefix("1/7") })
  }

  /// What is due, and cannot be asked because the stream is not writable, waits for that and not for a timer: one that
  /// is due at once, again and again, would keep the loop from its sockets.
  @Test func whatIsDueSetsNoTimer() throws {
    let bench = try Bench { $0.linger = .seconds(30) }
    bench.open()
    for _ in 0..<256 { _ = try bench.append("a", key: "k") }
    let (due, asks) = bench.core.pumpBegins()
    #expect(asks && (due ?? .max) > SystemClock().monotonicNanoseconds)
  }

  /// An application in full flow places its records itself; when it stops, the loop does.
  @Test(arguments: [false, true]) func answersAreLeftToWhoeverAppendsNext(_ appends: Bool) throws {
    let bench = try Bench()
    bench.open()
    _ = try bench.append("a", key: "k")
    let first = bench.questions()
    for _ in 0..<256 { _ = try bench.append("b", key: "k") }
    bench.answer(first[0], [1])
    #expect(try bench.batches().isEmpty)
    #expect(bench.core.pumpBegins().due != nil, "the loop looks again")
    if appends { _ = try bench.append("c", key: "k") } else { _ = bench.questions() }
    #expect(try bench.batches() == ["1/7: a"])
  }

  @Test func whatIsStagedCountsTowardsTheBound() throws {
    let bench = try Bench {
      $0.batchBytes = 1000
      $0.bufferBytes = 3000
    }
    var taken = 0
    while try bench.append(String(repeating: "x", count: 75), key: "k") { taken += 1 }
    #expect(taken == 30)
    bench.open()
    // The last chunk is asked about when nothing else is on its way.
    for _ in 0..<2 {
      for question in bench.questions() {
        bench.answer(question, Array(repeating: 2, count: question.keyLengths.count))
      }
    }
    #expect(try !bench.append("y"), "placed, not acknowledged: the bytes are the same ones")
    _ = bench.core.pumpBegins()
    var sent = 0
    while let sending = bench.core.nextSending() {
      sent += 1
      bench.core.answered([
        (sending.requestID, .appended(BatchAcknowledgement(baseOffset: 0, isDuplicate: false)))
      ])
    }
    #expect(sent == 3, "batches are closed at their size")
    #expect(try bench.append("y"))
  }

  @Test func aLostStreamAsksAgainAndALateAnswerCountsNothing() throws {
    let bench = try Bench()
    bench.open()
    _ = try bench.append("a", key: "k")
    let lost = bench.questions()
    bench.core.streamLost()
    #expect(bench.questions().isEmpty)
    bench.open()
    let again = bench.questions()
    #expect(again.map(\.keyLengths) == [[2]] && again[0].requestID > lost[0].requestID)
    bench.answer(lost[0], [1])
    #expect(try bench.batches().isEmpty)
    bench.answer(again[0], [2])
    bench.answer(again[0], [3])
    #expect(try bench.batches() == ["2/7: a"])
  }

  @Test(arguments: [Reason.partitionerUnavailable, .swapInProgress, .overloaded])
  func aRefusalThatPassesIsAskedAgainAfterAPause(_ reason: Reason) throws {
    let bench = try Bench()
    bench.open()
    _ = try bench.append("a", key: "k")
    bench.refuse(bench.questions()[0], reason)
    #expect(bench.questions().isEmpty, "there is a pause")
    let (due, asks) = bench.core.pumpBegins()
    #expect(due != nil && asks, "the pump knows when it is over")
    let again = bench.questions(now: (due ?? 0) + 1)
    #expect(again.count == 1)
    bench.answer(again[0], [1])
    #expect(try bench.batches() == ["1/7: a"])
  }

  @Test func aRefusalForGoodFailsItsRecordsAndNoOthers() async throws {
    let bench = try Bench()
    bench.open()
    _ = try bench.append("a", key: "k")
    let first = bench.questions()
    _ = try bench.append("b", key: "k")
    bench.refuse(first[0], .topicNotFound)
    #expect(bench.core.takeStaleTopics().map(\.name) == ["t"])
    bench.answer(bench.questions()[0], [1])
    #expect(try bench.batches() == ["1/7: b"])
    bench.core.answered([(1, .appended(BatchAcknowledgement(baseOffset: 0, isDuplicate: false)))])
    #expect(await bench.core.flush()?.reason == "TOPIC_NOT_FOUND")
  }

  @Test(arguments: [[Int32](), [4], [-2], [0, 0]]) func anAbsurdAnswerIsNotBelieved(_ partitions: [Int32])
    async throws
  {
    let bench = try Bench()
    bench.open()
    _ = try bench.append("a", key: "k")
    bench.answer(bench.questions()[0], partitions)
    #expect(try bench.batches().isEmpty)
    let error = await bench.core.flush()
    #expect(error?.reason == "INTERNAL" && error?.outcome == .definite)
  }

  @Test func anAnswerOfAnotherGenerationAsksWhatTheTopicIsNow() throws {
    let bench = try Bench()
    bench.open()
    _ = try bench.append("a", key: "k")
    bench.answer(bench.questions()[0], [1], generation: 8)
    #expect(bench.core.takeStaleTopics().map(\.name) == ["t"])
    #expect(bench.questions().isEmpty, "nothing is asked under a generation that is over")
    bench.core.refresh(
      bench.topic, TopicChange(partitioner: .asked(AssignmentShape()), generation: 8, partitions: 4))
    let again = bench.questions()
    #expect(again.map(\.generation) == [8])
    bench.answer(again[0], [3], generation: 8)
    #expect(try bench.batches() == ["3/8: a"])
  }

  @Test func pastItsDeadlineWhatWasNeverPlacedFailsForCertain() async throws {
    let bench = try Bench { $0.deliveryDeadline = .seconds(10) }
    bench.open()
    _ = try bench.append("a", key: "k")
    bench.refuse(bench.questions()[0], .partitionerUnavailable)
    let now = SystemClock().monotonicNanoseconds
    bench.core.tick(now: now + 5_000_000_000)
    #expect(bench.core.hasOutstanding)
    bench.core.tick(now: now + 11_000_000_000)
    #expect(bench.core.failure == nil && !bench.core.hasOutstanding)
    let error = await bench.core.flush()
    #expect(error?.reason == "DEADLINE_EXCEEDED" && error?.outcome == .definite)
    #expect(error?.message.contains("PARTITIONER_UNAVAILABLE") == true, "it says what the last answer was")
  }

  @Test func whatCannotBeAppendedIsRefusedBeforeItIsStaged() throws {
    let bench = try Bench()
    #expect(throws: SkeinError.self) { try bench.append("a", key: "k", timestamp: -1) }
    #expect(throws: SkeinError.self) {
      try bench.append(String(repeating: "x", count: BatchLimits().maxRecordBytes), key: "k")
    }
    #expect(!bench.core.hasOutstanding)
  }

  @Test func aClosedProducerTellsWhoeverWaits() async throws {
    let sink = SinkState(limit: 10)
    _ = try await sink.enter(timestamp: 5)
    let bench = try Bench()
    bench.open()
    _ = try bench.append("a", key: "k", waiter: RecordWaiter(sink: sink, number: 0))
    _ = bench.questions()
    bench.core.fail(ProducerCore.closedError)
    #expect(!bench.core.hasOutstanding)
    await #expect(throws: SkeinError.self) { try await sink.next()?.get() }
    #expect(throws: SkeinError.self) { try bench.append("b", key: "k") }
  }
}
