/// What every partitioner promises, tried on any subject: a loaded plug-in or a built-in.
package enum PartitionerPromises {
  static let cureForRange = "answer 0 to partitions - 1, or SKEIN_ANY_PARTITION (-1)"

  /// Answers in range for topics of every size.
  package static func range(_ subject: any PartitionerSubject, _ samples: RecordSamples, seed: UInt64) throws
  {
    var random = SeededRandom(seed: seed)
    let counts: [Int32] =
      Array(1...64) + [100, 127, 128, 255, 256, 1_000, 1_023, 1_024, 4_096, 9_999, 10_000]
    for count in counts {
      try judge(
        try subject.place(samples.ordinary(200, partitions: count, random: &random)), partitions: count)
    }
    // The rest of 1 to 10,000 with few records each.
    for count in stride(from: Int32(65), through: 10_000, by: 37) {
      try judge(try subject.place(samples.ordinary(8, partitions: count, random: &random)), partitions: count)
    }
  }

  /// Empty, absent, 1 MB and non-UTF-8 keys.
  package static func keys(_ subject: any PartitionerSubject, _ samples: RecordSamples, seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    for count: Int32 in [1, 2, 12, 10_000] {
      let set = samples.strange(partitions: count, random: &random)
      try judge(try subject.place(set), partitions: count)
      for index in set.keys.indices { try judge(try subject.place(set.picked([index])), partitions: count) }
    }
  }

  /// A batch of n gives what n batches of one give. For PURE subjects.
  package static func batches(_ subject: any PartitionerSubject, _ samples: RecordSamples, seed: UInt64)
    throws
  {
    var random = SeededRandom(seed: seed)
    for count: Int32 in [1, 7, 64, 1_000] {
      let set = samples.ordinary(120, partitions: count, random: &random)
      let whole = try subject.place(set)
      for index in set.keys.indices {
        let single = try subject.place(set.picked([index]))
        guard single == [whole[index]] else {
          throw Broken(
            "record \(index) of a batch of \(whole.count) goes to partition \(whole[index]) of \(count), alone to \(single[0])",
            cure: "let nothing of one record reach the next, or take the flag PURE away")
        }
      }
      let turned = try subject.place(set.picked(set.keys.indices.reversed()))
      guard turned == whole.reversed() else {
        throw Broken(
          "a batch in reverse order is placed otherwise",
          cure: "let the order not matter, or take the flag PURE away")
      }
    }
  }

  /// The same answers each time; returns their digest, to compare with other processes.
  package static func repeatable(
    _ subject: any PartitionerSubject, _ samples: RecordSamples, seed: UInt64
  ) throws -> String {
    var random = SeededRandom(seed: seed)
    var answers: [Int32] = []
    for count: Int32 in [3, 64, 1_000] {
      let set = samples.ordinary(500, partitions: count, random: &random)
      let first = try subject.place(set)
      for _ in 0..<3 {
        let again = try subject.place(set)
        if let index = first.indices.first(where: { first[$0] != again[$0] }) {
          throw Broken(
            "the same record went to partition \(first[index]) and then to \(again[index]) of \(count)",
            cure:
              "depend on the input alone (no time, random number, counter or address), or take the flag PURE away"
          )
        }
      }
      answers += first
    }
    return Digest64.text(answers)
  }

  /// How evenly 20,000 keys spread over 64 partitions: the fullest against the mean. A figure, no promise.
  package static func skew(_ subject: any PartitionerSubject, _ samples: RecordSamples, seed: UInt64) throws
    -> [String: Double]
  {
    var random = SeededRandom(seed: seed)
    var counts = [Int](repeating: 0, count: 64)
    var any = 0
    for _ in 0..<20 {
      for answer in try subject.place(samples.ordinary(1_000, partitions: 64, random: &random)) {
        if counts.indices.contains(Int(answer)) { counts[Int(answer)] += 1 } else { any += 1 }
      }
    }
    let placed = counts.reduce(0, +)
    let mean = Double(placed) / 64
    return [
      "skew_fullest_to_mean": mean > 0 ? Double(counts.max() ?? 0) / mean : 0,
      "empty_partitions_of_64": Double(counts.filter { $0 == 0 }.count), "any_share": Double(any) / 20_000,
    ]
  }

  static func judge(_ answers: [Int32], partitions: Int32) throws {
    for (index, answer) in answers.enumerated() where !(-1..<partitions).contains(answer) {
      if answer == NativeBatch.untouched {
        throw Broken(
          "record \(index) of \(answers.count) got no answer",
          cure: "set out[i] for every record of the batch")
      }
      throw Broken("answer \(answer) for a topic of \(partitions) partition(s)", cure: cureForRange)
    }
  }
}
