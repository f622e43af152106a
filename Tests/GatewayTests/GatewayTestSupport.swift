import Foundation
import NIOCore
import SkeinCore
import Testing

@testable import Gateway
@testable import Transport
@testable import Wire

/// A small seeded generator (xorshift64*), so that a failing test can be repeated.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }
}

/// One message as Python's protobuf writes it, in bytes and in JSON.
struct JSONVector {
  let schema: MessageSchema
  let bytes: [UInt8]
  /// With every default, JSON names.
  let full: String
  /// Without defaults, names of the `.proto` file.
  let brief: String

  static let all: [JSONVector] = jsonVectors.split(separator: "\n").compactMap { line in
    let parts = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 4, let schema = MessageSchema.all[parts[0]] else { return nil }
    return JSONVector(schema: schema, bytes: unhex(parts[1]), full: parts[2], brief: parts[3])
  }
}

func unhex(_ hex: String) -> [UInt8] {
  let digits = Array(hex.utf8)
  return stride(from: 0, to: digits.count - 1, by: 2).compactMap {
    UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
  }
}

func schema(_ name: String) throws -> MessageSchema {
  try #require(MessageSchema.all[name], "no message \(name)")
}

/// JSON text → bytes, as a body of a request is read.
func encode(
  _ text: String, _ name: String, form: BytesForm = .base64, limits: JSONLimits = JSONLimits()
) throws -> [UInt8] {
  try encode(Array(text.utf8), try schema(name), form: form, limits: limits)
}

func encode(
  _ text: [UInt8], _ schema: MessageSchema, form: BytesForm = .base64, limits: JSONLimits = JSONLimits()
) throws -> [UInt8] {
  let body = SharedBytes(text)
  return try body.withUnsafeBytes { (bytes) throws(Fault) -> [UInt8] in
    _ = try JSONText.check(bytes, limits: limits)
    return try MessageFromJSON.encode(try JSONText.parse(bytes), as: schema, form: form, limits: limits)
  }
}

/// Bytes → JSON text with sorted members.
func decode(_ bytes: [UInt8], _ schema: MessageSchema, form: BytesForm = .base64) throws -> String {
  text(try JSONText.write(try JSONFromMessage.object(bytes, as: schema, form: form)))
}

/// JSON text as Foundation writes it: two texts that say the same become equal.
func canonical(_ json: String) throws -> String {
  text(try JSONText.write(try JSONDecoder().decode([String: JSONItem].self, from: Data(json.utf8))))
}

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

func refusal(_ body: () throws -> Void) -> Fault? {
  do {
    try body()
    return nil
  } catch {
    return error as? Fault
  }
}

/// The field and the description of every violation, in order.
func expectRefused(
  _ json: String, _ name: String, _ reason: Reason = .jsonInvalid, _ violations: [(String, String)] = [],
  _ words: String = "", form: BytesForm = .base64, sourceLocation: SourceLocation = #_sourceLocation
) {
  let fault = refusal { _ = try encode(json, name, form: form) }
  #expect(
    fault?.reason == reason, "\(json): \(fault.map(String.init(describing:)) ?? "accepted")",
    sourceLocation: sourceLocation)
  if !words.isEmpty {
    #expect(fault?.message.contains(words) == true, "\(fault?.message ?? "")", sourceLocation: sourceLocation)
  }
  guard !violations.isEmpty else { return }
  #expect(fault?.violations.map(\.field) == violations.map(\.0), sourceLocation: sourceLocation)
  for (found, wanted) in zip(fault?.violations ?? [], violations) {
    #expect(
      found.description.contains(wanted.1), "\(found.field): \(found.description)",
      sourceLocation: sourceLocation)
  }
}
