import CSkeinPlugin
import Dispatch
import Glibc
import PluginPackage
import SkeinCore
import Synchronization

/// The promises of `PartitionerPromises` on a loaded plug-in, and those that only a loaded one can break.
enum PartitionerChecks {
  static let all: [Check] = [
    check("partitioner.range", "Every answer is a partition of the topic, for 1 to 10,000 of them, or -1.") {
      context, subject in
      try PartitionerPromises.range(subject, RecordSamples(context.manifest), seed: context.request.seed)
      return .passed()
    },
    check(
      "partitioner.keys", "Empty, absent, 1 MB and non-UTF-8 keys are placed like others.",
      after: ["partitioner.range"]
    ) {
      context, subject in
      try PartitionerPromises.keys(subject, RecordSamples(context.manifest), seed: context.request.seed)
      return .passed()
    },
    check(
      "partitioner.bounds", "It reads and writes within the batch alone.", after: ["partitioner.range"],
      bounds),
    check(
      "partitioner.longer", "Records and topic views that are longer (a newer minor) are as good.",
      after: ["partitioner.range"], longerViews),
    pure,
    check(
      "partitioner.batch", "A batch of n gives what n batches of one give (PURE).",
      after: ["partitioner.pure"]
    ) {
      context, subject in
      guard subject.isPure else { return .skipped("the plug-in does not say that it is PURE") }
      try PartitionerPromises.batches(subject, RecordSamples(context.manifest), seed: context.request.seed)
      return .passed()
    },
    check(
      "partitioner.threads", "Eight threads at once get the answers that one gets (PURE), and none is hurt.",
      after: ["partitioner.pure", "partitioner.bounds"], seconds: 20, threads),
    isolation,
    check("partitioner.flat", "Batches leave no memory behind.", seconds: 20, flat),
    check("partitioner.speed", "A record takes less than its budget of 1 µs.", speed),
    check("partitioner.skew", "How evenly keys spread; a figure.", after: ["partitioner.range"]) {
      context, subject in
      .passed(
        try PartitionerPromises.skew(subject, RecordSamples(context.manifest), seed: context.request.seed))
    },
  ]

  private static func check(
    _ name: String, _ promise: String, after: [String] = [], seconds: Double = 10,
    _ body: @escaping @Sendable (CheckContext, PartitionerUnderTest) throws -> Finding
  ) -> Check {
    Check(name, promise, kinds: [.partitioner], after: ["calls.basic"] + after, seconds: seconds) { context in
      let subject = try PartitionerUnderTest(context, try context.load())
      return try body(context, subject)
    }
  }

  // MARK: Bounds

  private static func bounds(_ context: CheckContext, _ subject: PartitionerUnderTest) throws -> Finding {
    var random = context.random()
    let samples = RecordSamples(context.manifest)
    for count in [1, 2, 3, 63, 1_000] {
      let batch = NativeBatch(samples.ordinary(count, partitions: 12, random: &random))
      context.doing("batch of \(count) record(s)")
      _ = try subject.run(batch)
      guard batch.isOutIntact else {
        throw Broken(
          "batch wrote beside `out`, which has \(count) place(s)",
          cure: "write out[0] to out[count - 1] and nothing else")
      }
      guard batch.isInputIntact else {
        throw Broken("batch changed the bytes of keys or headers", cure: "leave what is borrowed as it is")
      }
    }
    // One key that ends where memory ends.
    for length in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100] {
      guard let guarded = GuardedBuffer(count: length) else { continue }
      guarded.base.copyMemory(from: random.bytes(length), byteCount: length)
      guarded.makeReadOnly()
      context.doing("batch with a key of \(length) bytes that ends where readable memory ends")
      var key = skein_bytes(ptr: UnsafePointer(guarded.base.assumingMemoryBound(to: UInt8.self)), len: length)
      try single(&key, subject, headerNames: context.manifest.headers.count, growth: 0)
    }
    return .passed()
  }

  private static func longerViews(_ context: CheckContext, _ subject: PartitionerUnderTest) throws -> Finding
  {
    let bytes = Array("key".utf8)
    try bytes.withUnsafeBufferPointer { buffer in
      var key = skein_bytes(ptr: buffer.baseAddress, len: buffer.count)
      try single(&key, subject, headerNames: context.manifest.headers.count, growth: 64)
    }
    return .passed()
  }

  /// A batch of one record, with tables of the host that are `growth` longer than ours.
  private static func single(
    _ key: inout skein_bytes, _ subject: PartitionerUnderTest, headerNames: Int, growth: Int
  ) throws {
    guard let topic = GuardedBuffer(count: MemoryLayout<skein_topic>.size + growth),
      let records = GuardedBuffer(count: MemoryLayout<skein_records>.size + growth)
    else { return }
    defer {
      topic.unmap()
      records.unmap()
    }
    var view = skein_topic()
    view.size = UInt32(topic.count)
    view.partitions = 12
    topic.base.copyMemory(from: &view, byteCount: MemoryLayout<skein_topic>.size)
    var out: Int32 = NativeBatch.untouched
    var headers = [skein_bytes](repeating: skein_bytes(), count: max(1, headerNames))
    var time: Int64 = 1_700_000_000_000
    withUnsafePointer(to: &key) { keys in
      headers.withUnsafeMutableBufferPointer { headers in
        withUnsafePointer(to: &time) { time in
          var row = skein_records()
          row.size = UInt32(records.count)
          row.count = 1
          row.keys = keys
          row.timestamps = time
          row.header_names = UInt32(headerNames)
          row.headers = headerNames == 0 ? nil : UnsafePointer(headers.baseAddress)
          records.base.copyMemory(from: &row, byteCount: MemoryLayout<skein_records>.size)
          subject.table.batch(
            subject.instance.pointer, topic.base.assumingMemoryBound(to: skein_topic.self),
            records.base.assumingMemoryBound(to: skein_records.self), &out)
        }
      }
    }
    try PartitionerPromises.judge([out], partitions: 12)
  }

  // MARK: Determinism

  private static let pure = Check(
    "partitioner.pure", "The same records get the same answers, in another process too (PURE).",
    kinds: [.partitioner], after: ["calls.basic", "partitioner.range"], processes: 2,
    compare: { observations in
      let digests = Set(observations.compactMap { $0.finding.evidence["answers"] })
      guard digests.count <= 1 else {
        return .failed(
          "two processes placed the same records otherwise",
          cure: "depend on the input alone (no address, no seed of the process), or take the flag PURE away")
      }
      return observations.last?.finding ?? .passed()
    }
  ) { context in
    let subject = try PartitionerUnderTest(context, try context.load())
    guard subject.isPure else { return .skipped("the plug-in does not say that it is PURE") }
    let digest = try PartitionerPromises.repeatable(
      subject, RecordSamples(context.manifest), seed: context.request.seed)
    return .passed(evidence: ["answers": digest])
  }

  private static func threads(_ context: CheckContext, _ subject: PartitionerUnderTest) throws -> Finding {
    var random = context.random()
    let sets = (0..<8).map { _ in
      RecordSamples(context.manifest).ordinary(500, partitions: 64, random: &random)
    }
    let expected = try sets.map { try subject.place($0) }
    let wrong = Mutex(false)
    context.doing("batches from 8 threads at once")
    DispatchQueue.concurrentPerform(iterations: 8) { thread in
      let batch = NativeBatch(sets[thread])
      for _ in 0..<200 {
        guard let answers = try? subject.run(batch) else { return }
        let isRight =
          subject.isPure ? answers == expected[thread] : answers.allSatisfy { (-1..<64).contains($0) }
        if !isRight || !batch.isOutIntact { wrong.withLock { $0 = true } }
      }
    }
    guard !wrong.withLock({ $0 }) else {
      throw Broken(
        "eight threads at once got answers that one thread does not get",
        cure: "keep nothing that changes in the instance, or make it atomic")
    }
    return .passed()
  }

  /// Alone in two processes, then two instances in turn: where alone is repeatable, in turn must give the same.
  private static let isolation = Check(
    "partitioner.isolation", "Two instances share no state.", kinds: [.partitioner],
    after: ["calls.basic", "partitioner.pure"], processes: 3,
    compare: { observations in
      let answers = observations.map { $0.finding.evidence["answers"] }
      guard observations.count == 3, answers[0] == answers[1] else {
        return .skipped("the plug-in is not repeatable, so that nothing can be compared")
      }
      let together = observations[2].finding.evidence
      guard together["answers"] == answers[0], together["other"] == answers[0] else {
        return .failed(
          "an instance answers otherwise when another one is used beside it",
          cure: "keep state behind `self`, not in globals or statics")
      }
      return .passed()
    }
  ) { context in
    let plugin = try context.load()
    let first = try PartitionerUnderTest(context, plugin)
    let second = context.request.process == 2 ? try PartitionerUnderTest(context, plugin) : nil
    var random = context.random()
    var answers: [Int32] = []
    var other: [Int32] = []
    for _ in 0..<50 {
      let set = RecordSamples(context.manifest).ordinary(20, partitions: 64, random: &random)
      answers += try first.place(set)
      if let second { other += try second.place(set) }
    }
    return .passed(evidence: ["answers": Digest64.text(answers), "other": Digest64.text(other)])
  }

  // MARK: Cost

  private static func flat(_ context: CheckContext, _ subject: PartitionerUnderTest) throws -> Finding {
    var random = context.random()
    let batch = NativeBatch(RecordSamples(context.manifest).ordinary(100, partitions: 64, random: &random))
    context.doing("thousands of batches")
    let round = { for _ in 0..<1_000 { batch.call(subject.table, subject.instance.pointer) } }
    round()
    return try Growth.measure(
      rounds: 3, of: "1,000 batches", cure: "free what batch takes before it returns", round)
  }

  private static func speed(_ context: CheckContext, _ subject: PartitionerUnderTest) throws -> Finding {
    var random = context.random()
    var keys: [[UInt8]?] = []
    for _ in 0..<1_000 { keys.append(random.bytes(16)) }
    var set = RecordSamples(context.manifest).ordinary(1_000, partitions: 64, random: &random)
    set.keys = keys
    let batch = NativeBatch(set)
    context.doing("batches against the clock")
    let plugin = best { batch.call(subject.table, subject.instance.pointer) } / 1_000
    var sum: Int32 = 0
    let builtIn =
      best {
        for case let key? in keys { key.withUnsafeBytes { sum &+= Murmur2.partition($0, count: 64) } }
      } / 1_000
    let measured = ["ns_per_record": plugin, "builtin_ns_per_record": builtIn]
    guard plugin <= 1_000, sum != .min else {
      throw Broken(
        "a record takes \(Int(plugin)) ns in a batch of 1,000, more than the budget of 1,000",
        cure: "do work that does not depend on the record in create", measured: measured)
    }
    return .passed(measured)
  }

  /// The shortest of 30 runs, in nanoseconds: what the machine does beside it only adds.
  private static func best(_ body: () -> Void) -> Double {
    body()
    return (0..<30).map { _ in
      let start = Monotonic.now()
      body()
      return Double(Monotonic.now() - start)
    }.min() ?? 0
  }
}
