import Foundation
import SkeinCore
import Wire

/// JSON text ⇄ Foundation's values. Foundation parses and writes; this checks before it begins what
/// Foundation does not: UTF-8 (it would guess other encodings), nesting, the number of values, and a
/// comma behind the last element, which it lets pass. Pure; any thread.
enum JSONText {
  /// Checks a body without building anything.
  /// - Returns: the number of its values.
  /// - Throws: `JSON_INVALID`.
  static func check(_ bytes: UnsafeRawBufferPointer, limits: JSONLimits) throws(Fault) -> Int {
    guard UTF8Check.check(bytes) == .valid else {
      throw Fault(.jsonInvalid, "the body is not UTF-8 text; JSON is sent in UTF-8 without NUL")
    }
    var scan = JSONScan(bytes: bytes, limits: limits)
    return try scan.run()
  }

  /// Parses a body that `check` has passed. When a member stands twice in one object, Foundation keeps one.
  static func parse(_ bytes: UnsafeRawBufferPointer) throws(Fault) -> [String: JSONItem] {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return [:] }
    // Foundation reads the bytes during the call only.
    let data = Data(
      bytesNoCopy: UnsafeMutableRawPointer(mutating: base), count: bytes.count, deallocator: .none)
    do {
      if case .object(let object) = try JSONDecoder().decode(JSONItem.self, from: data) { return object }
    } catch {
      throw Fault(.jsonInvalid, "the body is not valid JSON: \(problem(data).displayable)")
    }
    throw Fault(.jsonInvalid, "the body is not a JSON object")
  }

  /// The decoder does not say where; Foundation's other parser does, and takes too much memory for large bodies.
  private static func problem(_ data: Data) -> String {
    guard data.count <= 64 << 10 else { return "it does not parse" }
    do {
      _ = try JSONSerialization.jsonObject(with: data)
      return "it does not parse"
    } catch {
      return (error as NSError).userInfo["NSDebugDescription"] as? String ?? "it does not parse"
    }
  }

  /// Members in the order of their names, so that the same answer is the same text.
  static func write(_ object: [String: JSONItem]) throws(Fault) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
      return [UInt8](try encoder.encode(object)) + [UInt8(ascii: "\n")]
    } catch {
      throw Fault(.internalError, "the answer cannot be written as JSON: \(error)")
    }
  }
}

/// One pass over the bytes of a body, outside strings.
private struct JSONScan {
  let bytes: UnsafeRawBufferPointer
  let limits: JSONLimits
  private var depth = 0
  private var values = 0
  /// The last byte that is neither white space nor inside a string.
  private var last: UInt8 = 0

  init(bytes: UnsafeRawBufferPointer, limits: JSONLimits) {
    self.bytes = bytes
    self.limits = limits
  }

  mutating func run() throws(Fault) -> Int {
    var at = 0
    while at < bytes.count {
      let byte = bytes[at]
      switch byte {
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"):
        at += 1
        continue
      case UInt8(ascii: "\""): at = try endOfString(at)
      default:
        try take(byte, at)
        at += 1
      }
      if last == 0, byte != UInt8(ascii: "{") {
        throw Fault(
          .jsonInvalid, "the body must be a JSON object: it begins with \(Self.name(byte)), not with {")
      }
      last = byte
    }
    return values
  }

  private mutating func take(_ byte: UInt8, _ at: Int) throws(Fault) {
    switch byte {
    case UInt8(ascii: "{"), UInt8(ascii: "["):
      depth += 1
      guard depth <= limits.maxNesting else {
        throw Fault(
          .jsonInvalid, "the body is nested more than \(limits.maxNesting) deep at byte \(at)",
          metadata: ["limit": String(limits.maxNesting)])
      }
      try count()
    case UInt8(ascii: ","): try count()
    case UInt8(ascii: "}"), UInt8(ascii: "]"):
      depth -= 1
      guard last != UInt8(ascii: ",") else {
        throw Fault(
          .jsonInvalid, "the body is not valid JSON: a comma before the \(Self.name(byte)) at byte \(at)")
      }
    default: break
    }
  }

  private mutating func count() throws(Fault) {
    values += 1
    guard values <= limits.maxValues else {
      throw Fault(
        .jsonInvalid, "the body has more than \(limits.maxValues) values; send several smaller requests",
        metadata: ["limit": String(limits.maxValues)])
    }
  }

  /// The index behind the string that begins at `at`; the end of the body when it does not end.
  private func endOfString(_ at: Int) throws(Fault) -> Int {
    var at = at + 1
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "\""): return at + 1
      case UInt8(ascii: "\\"): at += 2
      default: at += 1
      }
    }
    throw Fault(.jsonInvalid, "the body is not valid JSON: it ends inside a string")
  }

  private static func name(_ byte: UInt8) -> String {
    (0x21...0x7e).contains(byte) ? String(UnicodeScalar(byte)) : "the byte \(byte)"
  }
}
