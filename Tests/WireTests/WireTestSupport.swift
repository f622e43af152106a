import CProtobufC
import SkeinCore
import Testing

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

/// One encoding made by Python's protobuf.
struct PythonVector {
  let type: any CMessage.Type
  let name: String
  let bytes: [UInt8]

  static let all: [PythonVector] = {
    var types: [String: any CMessage.Type] = [:]
    for type in AllMessages.types { types[String(cString: type.descriptor.pointee.name)] = type }
    return pythonVectors.split(separator: "\n").flatMap { line -> [PythonVector] in
      let parts = line.split(separator: " ")
      guard let type = types[String(parts[0])] else { return [] }
      return parts.dropFirst().map { hex in
        PythonVector(type: type, name: String(parts[0]), bytes: hex == "-" ? [] : unhex(hex))
      }
    }
  }()
}

func unhex(_ hex: some StringProtocol) -> [UInt8] {
  let digits = Array(hex.utf8)
  return stride(from: 0, to: digits.count - 1, by: 2).map { i in
    UInt8(Hex.parse(digits[i...i + 1]) ?? 0)
  }
}

/// A length-delimited field.
func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
  var length = content.count
  var out = [number << 3 | 2]
  while length >= 0x80 {
    out.append(UInt8(length & 0x7f) | 0x80)
    length >>= 7
  }
  return out + [UInt8(length)] + content
}

/// The fault of decoding, nil when it succeeds.
func refusal<M: WireMessage>(
  _ type: M.Type, _ bytes: [UInt8], limits: WireLimits = .standard
) -> Fault? {
  do {
    _ = try M(decoding: SharedBytes(bytes), limits: limits)
    return nil
  } catch {
    return error
  }
}

func expectMalformed<M: WireMessage>(
  _ type: M.Type, _ bytes: [UInt8], _ words: String, limits: WireLimits = .standard,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  let fault = refusal(type, bytes, limits: limits)
  #expect(fault?.reason == .malformedMessage, sourceLocation: sourceLocation)
  #expect(
    fault?.message.contains(words) == true, "\(fault?.message ?? "accepted")", sourceLocation: sourceLocation)
}
