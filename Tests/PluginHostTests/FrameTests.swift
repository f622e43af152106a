import CSkeinPlugin
import PluginABI
import Testing

@testable import PluginHost

/// The broker survives any bytes that a child writes: each decoder takes them, or says what is wrong.
@Suite struct FrameTests {
  @Test func framesSplitAnywhereAreTheSame() throws {
    var stream: [UInt8] = []
    for call in 1...20 {
      stream += ChildMessages.completed(
        instance: 1, call: UInt64(call), status: 0, UnsafeRawBufferPointer(start: nil, count: 0))
      stream += ChildMessages.created(instance: 2, call: UInt64(call), flags: 1)
    }
    for cut in 1..<60 {
      var seen: [UInt64] = []
      var pending: [UInt8] = []
      for start in stride(from: 0, to: stream.count, by: cut) {
        pending += stream[start..<min(start + cut, stream.count)]
        let used = try pending.withUnsafeBytes { bytes in
          try ChildFrameHandler.parse(bytes) { (header, _) throws(ChildFrame.Malformed) in
            seen.append(header.call)
          }
        }
        pending.removeFirst(used)
      }
      #expect(seen == (1...20).flatMap { [UInt64($0), UInt64($0)] })
      #expect(pending.isEmpty)
    }
  }

  @Test(arguments: [
    ([255, 255, 255, 255, 70], "a frame of 4294967295 bytes"),
    ([15, 0, 0, 0], "a frame of 15 bytes"),
    ([16, 0, 0, 0, 5] + [UInt8](repeating: 0, count: 15), "kind 5"),
    ([16, 0, 0, 0, 99] + [UInt8](repeating: 0, count: 15), "kind 99"),
    ([16, 0, 0, 0, 70, 1] + [UInt8](repeating: 0, count: 14), "reserved"),
  ])
  func wrongHeadersAreRefusedBeforeTheirLengthIsBelieved(_ bytes: [UInt8], _ words: String) {
    let error = #expect(throws: ChildFrame.Malformed.self) {
      try bytes.withUnsafeBytes { bytes in
        _ = try ChildFrameHandler.parse(bytes) { (_, _) throws(ChildFrame.Malformed) in }
      }
    }
    #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
  }

  /// Every decoder, both ways, on altered, cut and random payloads. Prints its seed.
  @Test func noDecoderTrapsOnAnyBytes() {
    var random = SeededRandom(seed: UInt64.random(in: .min ... .max))
    print("seed \(random.seed)")
    var samples: [[UInt8]] = [
      ChildHello(id: "com.acme.x", pluginVersion: "1.0.0").frame(), ChildHelloed(landlock: 3).frame(),
      ChildCreate(
        kind: SKEIN_PARTITIONER, config: Array("{}".utf8), members: [.init(path: "a.b", value: [1, 2])]
      ).frame(instance: 1, call: 1),
      ChildMessages.refusal(.refused, instance: 0, call: 0, LoadRefusal(.entry, "why")),
      ChildMessages.refusal(.created, instance: 1, call: 1, LoadRefusal(.config, "why")),
      ChildMessages.log(.init(instance: 1, level: 2, message: "text")),
    ]
    var pong = ChildPong()
    pong.samples = [
      .init(instance: 1, kind: .counter, name: "a", unit: "", value: 1, count: 0, buckets: []),
      .init(
        instance: 1, kind: .histogram, name: "b", unit: "seconds", value: 1, count: 1,
        buckets: [UInt64](repeating: 1, count: MetricTable.bounds.count + 1)),
    ]
    samples.append(pong.frame(call: 3))
    let payloads = samples.map { Array($0[ChildFrame.headerSize...]) }
    for payload in payloads { #expect(accepted(payload) > 0) }
    for round in 0..<20_000 {
      var bytes = payloads[round % payloads.count]
      switch random.next() % 4 {
      case 0: bytes = (0..<Int(random.next() % 100)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      case 1: bytes.removeLast(Int(random.next() % UInt64(bytes.count + 1)))
      default:
        for _ in 0...random.next() % 4 where !bytes.isEmpty {
          bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
        }
      }
      _ = accepted(bytes)
    }
  }

  /// How many decoders take these bytes.
  private func accepted(_ bytes: [UInt8]) -> Int {
    var count = 0
    func attempt(_ decode: (UnsafeRawBufferPointer) throws -> Void) {
      if (try? bytes.withUnsafeBytes { try decode($0) }) != nil { count += 1 }
    }
    attempt { _ = try ChildHello(parsing: $0) }
    attempt { _ = try ChildHelloed(parsing: $0) }
    attempt { _ = try ChildCreate(parsing: $0) }
    attempt { _ = try ChildPong(parsing: $0) }
    attempt { _ = try ChildMessages.created($0) }
    attempt { _ = try ChildMessages.log($0, instance: 1) }
    attempt {
      var reader = FrameReader($0)
      _ = try ChildMessages.refusal(&reader)
    }
    attempt { _ = try ChildPlace.columns($0) }
    attempt { _ = try ChildFrame.header(of: $0, fromChild: true) }
    attempt { _ = try ChildFrame.header(of: $0, fromChild: false) }
    return count
  }

  @Test func aBatchComesBackAsItWent() throws {
    let lengths: [UInt32] = [2, 0, 3]
    let keys: [UInt8] = [1, 2, 3]
    let stamps: [Int64] = [7, 8, 9]
    try lengths.withUnsafeBytes { lengths in
      try keys.withUnsafeBytes { keys in
        try stamps.withUnsafeBytes { stamps in
          var columns = PlacementColumns()
          columns.topicHigh = 5
          columns.partitions = 9
          columns.count = 3
          columns.keyLengths = lengths
          columns.keys = keys
          columns.timestamps = stamps
          let frame = ChildPlace.frame(columns, instance: 1, call: 2)
          try frame.withUnsafeBytes { frame in
            let back = try ChildPlace.columns(
              UnsafeRawBufferPointer(rebasing: frame[ChildFrame.headerSize...]))
            let (isConsistent, topic, partitions) = (back.isConsistent, back.topicHigh, back.partitions)
            #expect(isConsistent && topic == 5 && partitions == 9)
            let (sameKeys, sameStamps) = (
              back.keys.elementsEqual(keys), back.timestamps.elementsEqual(stamps)
            )
            #expect(sameKeys && sameStamps)
            let hasWeights = !back.weights.isEmpty
            #expect(!hasWeights)
          }
        }
      }
    }
  }
}

/// SplitMix64.
struct SeededRandom {
  let seed: UInt64
  private var state: UInt64
  init(seed: UInt64) {
    self.seed = seed
    state = seed
  }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
