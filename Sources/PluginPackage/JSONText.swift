import Foundation

/// Why a text is not the JSON that we take.
struct JSONProblem: Error, Sendable {
  let text: String
}

/// JSON text to a tree. Foundation parses; this checks before what Foundation lets pass: other encodings, deep nesting, a
/// comma behind the last element, and a member that stands twice (of which a reader and a program may see
/// different ones).
enum JSONText {
  static let mostNesting = 32
  static let mostValues = 20_000

  /// The members of one JSON object.
  static func object(_ bytes: [UInt8]) throws(JSONProblem) -> [String: JSONValue] {
    guard !bytes.contains(0), String(validating: bytes, as: UTF8.self) != nil else {
      throw JSONProblem(text: "it is not UTF-8 text")
    }
    var scan = JSONScan()
    try scan.run(bytes)
    let value: JSONValue
    do {
      value = try JSONDecoder().decode(JSONValue.self, from: Data(bytes))
    } catch {
      throw JSONProblem(text: "it is not valid JSON\(place(bytes))")
    }
    guard case .object(let members) = value else { throw JSONProblem(text: "it is not a JSON object") }
    return members
  }

  /// The decoder does not say where; Foundation's other parser does.
  private static func place(_ bytes: [UInt8]) -> String {
    do {
      _ = try JSONSerialization.jsonObject(with: Data(bytes))
      return ""
    } catch {
      let text = (error as NSError).userInfo["NSDebugDescription"] as? String
      return text.map { ": \($0)" } ?? ""
    }
  }
}

/// One pass over the bytes, outside strings; whether they are JSON at all is for the parser to say.
private struct JSONScan {
  /// The names of each open object; nil for an array.
  private var open: [Set<[UInt8]>?] = []
  private var expectsName = false
  private var values = 0
  private var last: UInt8 = 0

  mutating func run(_ bytes: [UInt8]) throws(JSONProblem) {
    var at = 0
    while at < bytes.count {
      let byte = bytes[at]
      switch byte {
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"):
        at += 1
        continue
      case UInt8(ascii: "\""):
        let end = try Self.end(of: bytes, from: at + 1)
        if expectsName { try take(name: Array(bytes[at + 1..<end])) }
        expectsName = false
        at = end + 1
      default:
        try take(byte)
        at += 1
      }
      last = byte
    }
  }

  private mutating func take(name: [UInt8]) throws(JSONProblem) {
    guard !name.contains(UInt8(ascii: "\\")) else {
      throw JSONProblem(text: "a member's name is written with an escape; write it as it is")
    }
    guard let top = open.indices.last, open[top]?.insert(name).inserted ?? true else {
      throw JSONProblem(
        text: "the member \"\(String(decoding: name.prefix(64), as: UTF8.self))\" stands twice")
    }
  }

  private mutating func take(_ byte: UInt8) throws(JSONProblem) {
    switch byte {
    case UInt8(ascii: "{"), UInt8(ascii: "["):
      let isObject = byte == UInt8(ascii: "{")
      open.append(isObject ? [] : nil)
      expectsName = isObject
      guard open.count <= JSONText.mostNesting else {
        throw JSONProblem(text: "it is nested more than \(JSONText.mostNesting) deep")
      }
      try count()
    case UInt8(ascii: ","):
      expectsName = open.last.map { $0 != nil } ?? false
      try count()
    case UInt8(ascii: "}"), UInt8(ascii: "]"):
      guard last != UInt8(ascii: ",") else {
        throw JSONProblem(text: "a comma stands before its last bracket")
      }
      _ = open.popLast()
      expectsName = false
    default: break
    }
  }

  private mutating func count() throws(JSONProblem) {
    values += 1
    guard values <= JSONText.mostValues else {
      throw JSONProblem(text: "it has more than \(JSONText.mostValues) values")
    }
  }

  private static func end(of bytes: [UInt8], from start: Int) throws(JSONProblem) -> Int {
    var at = start
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "\""): return at
      case UInt8(ascii: "\\"): at += 2
      default: at += 1
      }
    }
    throw JSONProblem(text: "it ends inside a string")
  }
}
