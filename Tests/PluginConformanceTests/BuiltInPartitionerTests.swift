import PluginConformance
import SkeinCore
import Testing

/// The built-ins keep the promises that plug-ins are held to, tried by the same code; and that code refuses what does not.
@Suite struct BuiltInPartitionerTests {
  /// A built-in as the sender uses it: what has no key of its own is -1, "you choose".
  struct BuiltIn: PartitionerSubject {
    let partitioner: BuiltInPartitioner
    var isPure: Bool { true }
    func place(_ records: RecordSet) -> [Int32] {
      records.keys.map { key in
        guard let key else { return partitioner.partition(key: nil, count: records.partitions) ?? -1 }
        return key.withUnsafeBytes { partitioner.partition(key: $0, count: records.partitions) } ?? -1
      }
    }
  }

  /// Not a partitioner that anybody would want: each closure breaks one promise.
  struct Faulty: PartitionerSubject {
    var isPure = true
    let answer: @Sendable (RecordSet) -> [Int32]
    func place(_ records: RecordSet) -> [Int32] { answer(records) }
  }

  @Test(arguments: BuiltInPartitioner.allCases) func keepsEveryPromise(_ partitioner: BuiltInPartitioner)
    throws
  {
    let subject = BuiltIn(partitioner: partitioner)
    let samples = RecordSamples()
    try PartitionerPromises.range(subject, samples, seed: 1)
    try PartitionerPromises.keys(subject, samples, seed: 2)
    try PartitionerPromises.batches(subject, samples, seed: 3)
    let first = try PartitionerPromises.repeatable(subject, samples, seed: 4)
    #expect(try PartitionerPromises.repeatable(subject, samples, seed: 4) == first)
    let figures = try PartitionerPromises.skew(subject, samples, seed: 5)
    if partitioner == .murmur2 {
      #expect(figures["empty_partitions_of_64"] == 0)
      #expect(try #require(figures["skew_fullest_to_mean"]) < 1.4)
    } else {
      #expect(figures["any_share"] == 1)
    }
  }

  @Test func anAnswerThatIsNoPartitionIsNamed() throws {
    for wrong: Int32 in [-2, Int32.min, Int32.max] {
      let subject = Faulty { $0.keys.map { _ in wrong } }
      let broken = #expect(throws: Broken.self) {
        try PartitionerPromises.range(subject, RecordSamples(), seed: 1)
      }
      #expect(try #require(broken).finding.cause?.contains("answer \(wrong)") == true)
    }
    // The number of partitions itself is one too many.
    let subject = Faulty { records in records.keys.map { _ in records.partitions } }
    #expect(throws: Broken.self) { try PartitionerPromises.range(subject, RecordSamples(), seed: 1) }
  }

  @Test func whatDependsOnItsNeighboursIsFound() {
    let subject = Faulty { records in records.keys.indices.map { Int32($0) % records.partitions } }
    #expect(throws: Broken.self) { try PartitionerPromises.batches(subject, RecordSamples(), seed: 1) }
  }

  @Test func whatChangesItsMindIsFound() {
    let turn = Turn()
    let subject = Faulty { records in
      let number = turn.next()
      return records.keys.map { _ in number % records.partitions }
    }
    #expect(throws: Broken.self) { try PartitionerPromises.repeatable(subject, RecordSamples(), seed: 1) }
  }

  @Test func theSameSeedGivesTheSameRecords() throws {
    let subject = BuiltIn(partitioner: .murmur2)
    let samples = RecordSamples(headerNames: 2, needsTimestamps: true)
    let one = try PartitionerPromises.repeatable(subject, samples, seed: 9)
    #expect(try PartitionerPromises.repeatable(subject, samples, seed: 9) == one)
    #expect(try PartitionerPromises.repeatable(subject, samples, seed: 10) != one)
  }
}

/// Counts calls. `@unchecked Sendable`: confined to the thread of one test.
private final class Turn: @unchecked Sendable {
  private var value: Int32 = 0
  func next() -> Int32 {
    value += 1
    return value
  }
}
