import RecordFormat
import SkeinCore
import Synchronization
import Testing

@testable import SkeinClient

/// Batching: buffer and machine together, as the core drives them, without a broker.
@Suite struct ProducerBufferTests {
  /// A core with one topic and an open stream whose pump only counts.
  private final class Bench: Sendable {
    let core: ProducerCore
    let topic: Int
    let deliveries = Mutex<[BatchDelivery]>([])

    init(
      partitions: Int32 = 3, partitioner: BuiltInPartitioner = .murmur2,
      _ change: (inout ProducerConfiguration) -> Void = { _ in }
    ) throws {
      var configuration = ProducerConfiguration()
      configuration.linger = .seconds(30)
      change(&configuration)
      core = ProducerCore(configuration: try configuration.validated(), random: SeededRandom(3))
      topic = core.register(
        "t", partitioner: .builtIn(partitioner), generation: 4, partitions: partitions)
    }

    func open(window: Int = 5) {
      core.streamOpened(producerID: 9, producerEpoch: 0, window: window, limits: BatchLimits()) {}
    }

    func append(_ text: String, key: String? = nil, partition: Int32? = nil) throws -> Bool {
      try Array(text.utf8).withUnsafeBytes { value in
        try Array((key ?? "").utf8).withUnsafeBytes { key_ in
          try core.append(
            RecordInput(
              key: key == nil ? nil : key_, value: value, headers: .none, headerBytes: 0, timestamp: 5,
              partition: partition, tag: 0), topic: topic)
        }
      }
    }

    /// Everything that may leave now.
    func sendings() -> [ProducerMachine.Sending] {
      _ = core.pumpBegins()
      var all: [ProducerMachine.Sending] = []
      while let sending = core.nextSending() { all.append(sending) }
      return all
    }

    func acknowledge(_ sendings: [ProducerMachine.Sending]) {
      core.answered(
        sendings.map {
          ($0.requestID, .appended(BatchAcknowledgement(baseOffset: 0, isDuplicate: false)))
        })
    }
  }

  private static func header(_ sending: ProducerMachine.Sending) throws -> BatchHeader {
    try sending.payload.withUnsafeBytes { bytes throws(BatchError) in
      try BatchCheck.produce(bytes, limits: BatchLimits())
    }
  }

  @Test func aFullBatchLeavesAtOnceAndTheRestWaitsForLinger() throws {
    let bench = try Bench(partitions: 1) { $0.batchBytes = 1000 }
    bench.open()
    for _ in 0..<25 { #expect(try bench.append(String(repeating: "x", count: 76))) }
    let sent = bench.sendings()
    // Ten records of 76 + 24 bytes fill a batch; five wait.
    #expect(try sent.map { try Self.header($0).recordCount } == [10, 10])
    #expect(try sent.map { try Self.header($0).baseSequence } == [0, 10])
    #expect(sent.map(\.generation) == [4, 4])
  }

  @Test func withoutLingerItLeavesAsSoonAsItCan() throws {
    let bench = try Bench(partitions: 1) { $0.linger = .zero }
    bench.open(window: 1)
    _ = try bench.append("a")
    let first = bench.sendings()
    #expect(first.count == 1)
    // The window is full: what comes now gathers in one batch.
    for _ in 0..<5 { _ = try bench.append("b") }
    #expect(bench.sendings().isEmpty)
    bench.acknowledge(first)
    let second = bench.sendings()
    #expect(try second.map { try Self.header($0).recordCount } == [5])
  }

  /// Under load small batches of a partition do not pile up in flight: they grow instead.
  @Test func aThirdPartialBatchGoesOnFilling() throws {
    let bench = try Bench(partitions: 1) { $0.linger = .zero }
    bench.open(window: 32)
    var sent: [ProducerMachine.Sending] = []
    for _ in 0..<10 {
      _ = try bench.append("x")
      sent += bench.sendings()
    }
    #expect(try sent.map { try Self.header($0).recordCount } == [1, 1])
    bench.acknowledge([sent[0]])
    #expect(try bench.sendings().map { try Self.header($0).recordCount } == [8])
  }

  @Test func keylessRecordsStickToAPartitionForABatch() throws {
    let bench = try Bench { $0.batchBytes = 500 }
    bench.open()
    for _ in 0..<15 { _ = try bench.append(String(repeating: "x", count: 76)) }
    #expect(bench.sendings().map(\.partition) == [0, 1, 2])
  }

  @Test func roundRobinTurnsByRecordAndExplicitPartitionsNameTheGenerationToo() throws {
    let bench = try Bench(partitioner: .roundRobin) { $0.linger = .zero }
    bench.open()
    for _ in 0..<6 { _ = try bench.append("x", key: "same") }
    #expect(try bench.sendings().map { try Self.header($0).recordCount } == [2, 2, 2])
    _ = try bench.append("x", partition: 2)
    #expect(bench.sendings().map(\.generation) == [4])
  }

  @Test func theBoundHoldsAndIsGivenBack() throws {
    let bench = try Bench(partitions: 1) {
      $0.batchBytes = 1000
      $0.bufferBytes = 3000
    }
    bench.open()
    var taken = 0
    while try bench.append(String(repeating: "x", count: 76)) { taken += 1 }
    #expect(taken == 30)
    bench.acknowledge(bench.sendings())
    #expect(try bench.append("y"))
    // A record larger than the buffer passes when it is alone.
    let alone = try Bench(partitions: 1) {
      $0.batchBytes = 100
      $0.bufferBytes = 100
    }
    #expect(try alone.append(String(repeating: "x", count: 5000)))
    #expect(try !alone.append("y"))
  }

  @Test(arguments: [Codec.gzip, .zstd])
  func compressedBatchesKeepTheirRecordsAndSequences(_ codec: Codec) throws {
    let bench = try Bench(partitions: 1) {
      $0.compression = codec
      $0.linger = .zero
    }
    bench.open()
    for n in 0..<50 { _ = try bench.append("a text that repeats itself \(n)", key: "k") }
    let sent = bench.sendings()
    #expect(sent.count == 1)
    let header = try Self.header(sent[0])
    #expect(header.codec == codec && header.recordCount == 50 && header.producerID == 9)
    var values: [String] = []
    var reader = BatchReader()
    try sent[0].payload.withUnsafeBytes { bytes in
      _ = try reader.forEach(bytes) {
        values.append($0.value.map { String(decoding: $0, as: UTF8.self) } ?? "")
      }
    }
    #expect(values == (0..<50).map { "a text that repeats itself \($0)" })
  }

  @Test func renumberingARealBatchKeepsItValid() throws {
    let bench = try Bench(partitions: 1) { $0.linger = .zero }
    bench.open()
    _ = try bench.append("x")
    let sent = bench.sendings()
    let moved = BatchRewriter.resequence(sent[0].payload, 77)
    let header = try moved.withUnsafeBytes { bytes throws(BatchError) in
      try BatchCheck.produce(bytes, limits: BatchLimits())
    }
    #expect(header.baseSequence == 77 && header.producerID == 9)
    #expect(try Self.header(sent[0]).baseSequence == 0)
  }

  @Test func flushEndsWhenEverythingBeforeItIsOverAndTellsTheFirstFailure() async throws {
    let bench = try Bench(partitions: 2)
    bench.open()
    _ = try bench.append("a", partition: 0)
    _ = try bench.append("b", partition: 1)
    async let flushed = bench.core.flush()
    var sent: [ProducerMachine.Sending] = []
    while sent.count < 2 {
      sent += bench.sendings()
      await Task.yield()
    }
    bench.acknowledge([sent[0]])
    bench.core.answered([(sent[1].requestID, .refused(SkeinError(.batchTooLarge, "too large")))])
    #expect(await flushed?.reason == "BATCH_TOO_LARGE")
    // Told once.
    #expect(await bench.core.flush() == nil)
  }

  @Test func aCancelledFlushReturns() async throws {
    let bench = try Bench()
    _ = try bench.append("never sent")
    let flush = Task { await bench.core.flush() }
    flush.cancel()
    #expect(await flush.value?.reason == "CANCELLED")
  }

  @Test func configurationsAreCheckedAsAWhole() {
    var configuration = ProducerConfiguration()
    configuration.batchBytes = 0
    configuration.maxInFlightBatches = 0
    configuration.compression = .snappy
    #expect {
      _ = try configuration.validated()
    } throws: { error in
      (error as? SkeinError)?.violations.map(\.field) == ["batchBytes", "maxInFlightBatches", "compression"]
    }
  }
}
