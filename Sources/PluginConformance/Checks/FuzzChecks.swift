import CSkeinPlugin
import PluginPackage

/// Whatever comes in, the process lives, and answers stay what they must be. Seeded: the report names the seed.
enum FuzzChecks {
  static let all: [Check] = [
    Check(
      "fuzz.config", "No configuration, however broken, hurts the process.",
      after: ["calls.basic", "load.bad-config"], seconds: 20, config),
    Check(
      "fuzz.inputs", "No input, however strange, hurts the process or gets an answer that may not be.",
      after: ["calls.basic", "partitioner.keys", "partitioner.bounds"], seconds: 20, inputs),
  ]

  private static func config(_ context: CheckContext) throws -> Finding {
    let plugin = try context.load()
    var random = context.random(11)
    let seed = Array(context.request.config.utf8)
    var tried = 0.0
    try until(context) {
      let text = String(decoding: mutate(seed, &random), as: UTF8.self)
      for kind in context.kinds {
        switch try context.tryCreate(plugin, kind, config: text) {
        case .made(let instance):
          if tried < 20 { try Exercise.calls(1, instance, kind, context) }
          instance.destroy(doing: context.doing)
        case .refused(let status, _):
          guard (1...6).contains(status) else {
            throw Broken("create gave status \(status)", cure: "use SKEIN_FAILED to SKEIN_UNSUPPORTED")
          }
        }
      }
      tried += 1
    }
    return .passed(["tried": tried])
  }

  private static func inputs(_ context: CheckContext) throws -> Finding {
    let plugin = try context.load()
    var random = context.random(13)
    var tried = 0.0
    let subject =
      context.kinds.contains(.partitioner) ? try PartitionerUnderTest(context, plugin) : nil
    let asynchronous = try context.kinds.filter { $0 != .partitioner }.map {
      try AsyncSubject(context, plugin, $0)
    }
    let samples = RecordSamples(context.manifest)
    try until(context) {
      if let subject {
        let partitions = Int32(1 + random.next() % 10_000)
        let set = samples.arbitrary(
          1 + Int(random.next() % 64), partitions: partitions, longest: 4_096, random: &random)
        context.doing(
          "batch \(Int(tried)) of the fuzz, \(set.keys.count) record(s) over \(partitions) partitions")
        let batch = NativeBatch(set)
        try PartitionerPromises.judge(try subject.run(batch), partitions: partitions)
        guard batch.isOutIntact, batch.isInputIntact else {
          throw Broken(
            "batch wrote beside `out` or into its input",
            cure: "write out[0] to out[count - 1] and nothing else")
        }
      }
      for each in asynchronous { try one(each, &random) }
      tried += 1
    }
    return .passed(["tried": tried])
  }

  private static func one(_ subject: AsyncSubject, _ random: inout SeededRandom) throws {
    let deadline = AsyncSubject.deadline(in: 1)
    var calls: [skein_call] = []
    if subject.kind == .offsetStore {
      let request = mutate(StoreMessages.commit(group: "fuzz", epoch: 1, [(0, 1)]), &random)
      let which: [AsyncSubject.StoreCall] = [.commit, .fetch, .scan, .remove]
      calls.append(subject.begin(which[Int(random.next() % 4)], request, deadline: deadline))
    } else {
      let exchange = subject.newExchange()
      let mechanism = String(decoding: mutate(Array("bearer".utf8), &random).prefix(100), as: UTF8.self)
      calls.append(
        subject.step(
          exchange, mechanism: mechanism, message: random.bytes(Int(random.next() % 300)), deadline: deadline)
      )
      if random.next() % 2 == 0 { subject.cancel(calls[0]) }
      subject.end(exchange)
    }
    guard subject.host.wait(for: calls, seconds: 5).isEmpty else {
      throw Broken(
        "a call with a strange request was never completed", cure: "end every call by exactly one `complete`")
    }
    subject.host.forgetCalls()
  }

  private static func until(_ context: CheckContext, _ body: () throws -> Void) throws {
    let end = AsyncSubject.deadline(in: context.request.fuzzSeconds)
    repeat { try body() } while Monotonic.now() < end
  }

  /// Bytes near `seed`, or far from it.
  private static func mutate(_ seed: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
    var bytes = seed
    for _ in 0...(random.next() % 6) {
      let at = bytes.isEmpty ? 0 : Int(random.next() % UInt64(bytes.count))
      switch random.next() % 6 {
      case 0: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: at)
      case 1: if !bytes.isEmpty { bytes.remove(at: at) }
      case 2: if !bytes.isEmpty { bytes[at] ^= 1 << UInt8(random.next() % 8) }
      case 3: bytes = Array(bytes.prefix(at))
      case 4: bytes.insert(contentsOf: bytes.prefix(at), at: at)
      default: bytes.insert(contentsOf: random.bytes(Int(random.next() % 16)), at: at)
      }
      if bytes.count > 60_000 { bytes = Array(bytes.prefix(60_000)) }
    }
    return bytes
  }
}
