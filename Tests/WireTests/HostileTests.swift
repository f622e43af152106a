import CProtobufC
import SkeinCore
import Testing

@testable import Wire

/// Bytes that no honest encoder writes: each is refused with a sentence that says why, in bounded
/// memory and time, and nothing traps.
@Suite struct HostileTests {
  // MARK: Strings

  @Test func stringsMustBeUTF8() {
    let bad: [[UInt8]] = [
      [0xff], [0xc0, 0x80], [0xc3], [0xe0, 0x80, 0x80], [0xed, 0xa0, 0x80], [0xf0, 0x80, 0x80, 0x80],
      [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0x80], [0xe2, 0x82],
      Array("longer text ".utf8) + [0xfe],
    ]
    for text in bad {
      expectMalformed(
        PublishRequest.self, field(1, text), "skein.v1.PublishRequest.topic: is not valid UTF-8")
      // In a message that Wire reads without protobuf-c, and in one that protobuf-c reads.
      expectMalformed(
        PublishRequest.self, field(2, field(3, field(1, text))), "skein.v1.Header.name: is not valid UTF-8")
      expectMalformed(CreateTopicRequest.self, field(4, field(1, text)), "key: is not valid UTF-8")
    }
    for text in ["é", "日本語", "🦢", "\u{7f}", "\u{10ffff}", "exactly8", "exactly8exactly8é"] {
      #expect(refusal(PublishRequest.self, field(1, Array(text.utf8))) == nil, "\(text)")
    }
  }

  /// protobuf-c ends strings at NUL: "ord\0xy" would be read as "ord", another topic's name.
  @Test func stringsMustNotContainNUL() {
    for text in ["ord\0xy", "\0", "12345678\0", "1234567\0", "é\0"] {
      expectMalformed(PublishRequest.self, field(1, Array(text.utf8)), "topic: contains a NUL")
      expectMalformed(CreateTopicRequest.self, field(4, field(2, Array(text.utf8))), "contains a NUL")
    }
    #expect(refusal(PublishRequest.self, field(2, field(1, [0, 0]))) == nil, "bytes may hold NUL")
  }

  @Test func asciiCheckAgreesWithSwift() {
    var random = SeededRandom(seed: 7)
    for _ in 0..<20_000 {
      var text = (0..<Int.random(in: 0...20, using: &random)).map { _ in
        UInt8.random(in: 1...127, using: &random)
      }
      if Bool.random(using: &random), !text.isEmpty {
        text[Int.random(in: 0..<text.count, using: &random)] = UInt8.random(in: 128...255, using: &random)
        text.insert(contentsOf: Array("é🦢".utf8), at: Int.random(in: 0...text.count, using: &random))
      }
      let isValid = String(validating: text, as: UTF8.self) != nil
      let result = text.withUnsafeBytes { UTF8Check.check($0) }
      #expect((result == .valid) == isValid, "\(text)")
    }
  }

  // MARK: Shape

  @Test func wireTypesMustMatch() {
    expectMalformed(PublishRequest.self, [1 << 3, 5], "topic: has wire type 0 instead of 2")
    expectMalformed(PublishRequest.self, field(3, [1]), "acks: has wire type 2 instead of 0")
    expectMalformed(PublishRequest.self, [3 << 3 | 5, 1, 2, 3, 4], "acks: has wire type 5")
    expectMalformed(PublishRequest.self, [9 << 3 | 3], "not protobuf")  // a group
    expectMalformed(PublishRequest.self, [0], "not protobuf")  // field number 0
    expectMalformed(PublishStreamRequest.self, [15 << 3, 5], "batch: has wire type 0")
    expectMalformed(ListOffsetsRequest.self, field(2, [0x80]), "partitions: is cut off")
    #expect(refusal(ListOffsetsRequest.self, field(2, [1, 2, 3])) == nil, "packed")
    #expect(refusal(ListOffsetsRequest.self, [2 << 3, 1, 2 << 3, 2]) == nil, "one by one")
  }

  @Test func lengthsMustFit() {
    expectMalformed(PublishRequest.self, [0x0a, 5, 0x61], "truncated")
    expectMalformed(PublishRequest.self, [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], "truncated")
    expectMalformed(PublishRequest.self, [0x0a] + [UInt8](repeating: 0xff, count: 9) + [1], "truncated")
    expectMalformed(PublishRequest.self, [0x18] + [UInt8](repeating: 0xff, count: 10), "truncated")
    expectMalformed(PublishRequest.self, [UInt8](repeating: 0x80, count: 100), "not protobuf")
  }

  @Test func depthIsLimited() {
    var limits = WireLimits()
    limits.maxDepth = 2
    let header = field(2, field(3, field(1, [0x61])))
    expectMalformed(PublishRequest.self, header, "nested more than 2 deep", limits: limits)
    limits.maxDepth = 3
    #expect(refusal(PublishRequest.self, header, limits: limits) == nil)
  }

  // MARK: Amounts

  @Test func countsAreLimited() {
    let records = [UInt8](repeating: 0, count: 1000).flatMap { _ in [0x12 as UInt8, 0] }
    var limits = WireLimits()
    limits.maxElements = 999
    expectMalformed(PublishRequest.self, records, "more than 999 repeated entries", limits: limits)
    limits = WireLimits()
    limits.maxFields = 999
    expectMalformed(PublishRequest.self, records, "more than 999 fields", limits: limits)
    limits = WireLimits()
    limits.maxSlicedElements = 999
    let fault = refusal(PublishRequest.self, records, limits: limits)
    #expect(fault?.reason == .invalidRequest && fault?.violations.map(\.field) == ["records"])
    let packed = field(2, [UInt8](repeating: 1, count: 1000))
    limits = WireLimits()
    limits.maxElements = 999
    expectMalformed(ListOffsetsRequest.self, packed, "more than 999", limits: limits)
  }

  @Test func unknownFieldsAreLimited() {
    let many = (0..<10_001).flatMap { _ in [0x80 as UInt8, 0x7d, 1] }
    expectMalformed(PublishRequest.self, many, "unknown fields")
    let large = [0x82, 0x7d] + field(0, [UInt8](repeating: 0, count: 1 << 20 | 1)).dropFirst()
    expectMalformed(PublishRequest.self, Array(large), "unknown fields")
  }

  /// 1 MiB of empty submessages costs protobuf-c 88 MiB with plain malloc.
  @Test func emptySubmessagesMeetTheArenaBudget() {
    let empty = (0..<(1 << 19)).flatMap { _ in [0x0a as UInt8, 0] }
    expectMalformed(ReadRequest.self, field(1, empty), "more than 500000 repeated entries")
    var limits = WireLimits()
    limits.maxElements = .max
    expectMalformed(ReadRequest.self, field(1, empty), "decoding needs more than", limits: limits)
    let arena = Arena(budget: limits.arenaBudget(messageBytes: empty.count), expected: 3 * empty.count)
    let isRefused = empty.withUnsafeBytes { buffer in
      arena.unpack(ReadOpen.descriptor, buffer, as: UInt8.self) { $0 == nil }
    }
    #expect(isRefused && arena.isExhausted)
    #expect(arena.capacity <= 8 << 20)
  }

  /// As many small entries as honest requests hold do pass.
  @Test func honestExtremesPass() throws {
    let partitions = (0..<1000).map { FetchPartition(topic: "t", partition: Int32($0), offset: 5) }
    #expect(
      try FetchRequest(decoding: FetchRequest(partitions: partitions).encoded()).partitions == partitions)
    let offsets = (0..<10_000).map { PartitionOffset(topic: "t", partition: Int32($0 & 63)) }
    #expect(try CommitRequest(decoding: CommitRequest(offsets: offsets).encoded()).offsets == offsets)
    let records = (0..<100_000).map { Record(value: SharedBytes([UInt8($0 & 0xff)])) }
    let request = PublishRequest(topic: "t", records: records)
    #expect(try PublishRequest(decoding: request.encoded()).records.count == 100_000)
    let results = (0..<100_000).map { RecordResult(partition: 1, offset: Int64($0)) }
    let response = PublishResponse(results: results)
    #expect(try PublishResponse(decoding: SharedBytes(response.encoded()), limits: .reply) == response)
  }

  // MARK: Everything at once

  /// Every prefix of every vector either decodes or is refused as malformed.
  @Test func truncationsNeverCrash() {
    for vector in PythonVector.all {
      for length in 0..<vector.bytes.count {
        survive(vector.type, Array(vector.bytes[..<length]), vector.name)
      }
    }
  }

  @Test(arguments: [UInt64(20_261_123), 2, 3])
  func mutationsNeverCrash(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    for vector in PythonVector.all where !vector.bytes.isEmpty {
      for _ in 0..<60 { survive(vector.type, mutate(vector.bytes, &random), "\(vector.name), seed \(seed)") }
    }
  }

  /// Bytes of one type read as another.
  @Test func typesMistakenForOthersNeverCrash() {
    var random = SeededRandom(seed: 99)
    for vector in PythonVector.all {
      for _ in 0..<5 {
        if let type = AllMessages.types.randomElement(using: &random) {
          survive(type, vector.bytes, vector.name)
        }
      }
    }
  }

  /// Every allocation that protobuf-c makes may be the one that is refused.
  @Test func refusedAllocationsAreSurvived() {
    for vector in PythonVector.all {
      for refused in 0..<200 where !unpack(vector, refusing: refused) { break }
    }
  }

  /// Decodes; if it is accepted the value must survive encoding. The scan must be at least as strict
  /// as protobuf-c, which then finds nothing left to refuse.
  private func survive<M: CMessage>(_ type: M.Type, _ bytes: [UInt8], _ context: String) {
    do {
      let message = try M(decoding: bytes)
      #expect(try M(decoding: message.encoded()) == message, "\(context): \(Hex.string(bytes))")
    } catch {
      let fault: Fault = error
      #expect(fault.reason == .malformedMessage || fault.reason == .invalidRequest, "\(context): \(fault)")
      #expect(!fault.message.contains("do not decode"), "\(context): \(fault) \(Hex.string(bytes))")
    }
  }

  private func mutate(_ bytes: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
    var out = bytes
    for _ in 0..<Int.random(in: 1...4, using: &random) where !out.isEmpty {
      let at = Int.random(in: 0..<out.count, using: &random)
      switch Int.random(in: 0..<6, using: &random) {
      case 0: out[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 1: out[at] = [0, 0x7f, 0x80, 0xff].randomElement(using: &random) ?? 0
      case 2: out.remove(at: at)
      case 3: out.insert(UInt8.random(in: 0...255, using: &random), at: at)
      case 4: out.insert(contentsOf: out[at..<min(out.count, at + 12)], at: at)
      default: out.removeSubrange(at..<min(out.count, at + Int.random(in: 1...9, using: &random)))
      }
    }
    return out
  }

  /// Whether the allocation of that number was reached at all.
  private func unpack(_ vector: PythonVector, refusing: Int) -> Bool {
    func run<M: CMessage>(_ type: M.Type) -> Bool {
      let arena = Arena(budget: 1 << 20, expected: 1024)
      arena.refusedAllocation = refusing
      let unpacked = vector.bytes.withUnsafeBytes { buffer in
        arena.unpack(M.descriptor, buffer, as: M.CStruct.self) { $0 != nil }
      }
      #expect(unpacked == !arena.isExhausted, "\(vector.name), allocation \(refusing)")
      return arena.isExhausted
    }
    return run(vector.type)
  }
}
