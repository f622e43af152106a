import Foundation
import SkeinCore

/// One value of Foundation's tree, classified. Foundation's numbers and booleans are one class; a number is
/// judged by its text, so that no digit of a 64-bit integer is lost.
enum JSONItem {
  case null
  case bool(Bool)
  case number(String)
  case string(String)
  case array([Any])
  case object([String: Any])

  init(_ value: Any) {
    if let text = value as? String {
      self = .string(text)
    } else if let number = value as? NSNumber {
      // "c" is what a boolean says of itself; the parser makes no other number of that type.
      self = String(cString: number.objCType) == "c" ? .bool(number.boolValue) : .number(number.stringValue)
    } else if let object = value as? [String: Any] {
      self = .object(object)
    } else if let array = value as? [Any] {
      self = .array(array)
    } else {
      self = .null
    }
  }

  var isNull: Bool { if case .null = self { true } else { false } }

  /// What was found, for the sentence of an error.
  var found: String {
    switch self {
    case .null: "null"
    case .bool(let value): "\(value)"
    case .number(let text): Self.cut(text)
    case .string(let text): "\"\(Self.cut(text).displayable)\""
    case .array: "an array"
    case .object: "an object"
    }
  }

  private static func cut(_ text: String) -> String { text.count > 40 ? text.prefix(40) + "…" : text }
}

/// How `bytes` stand in JSON.
enum BytesForm: String, CaseIterable, Sendable {
  /// The proto JSON mapping: base64.
  case base64
  /// `?bytes=text`: UTF-8 text as it is; what is not UTF-8 as `{"base64": "…"}`.
  case text
}

/// Where in a JSON document something stands: `records[3].headers[0].value`, `settings["retention.ms"]`.
enum JSONPathStep {
  case field(String)
  case index(Int)
  case key(String)

  static func text(_ steps: [JSONPathStep]) -> String {
    var out = ""
    for step in steps {
      switch step {
      case .field(let name): out += out.isEmpty ? name : ".\(name)"
      case .index(let index): out += "[\(index)]"
      case .key(let key): out += "[\"\(key)\"]"
      }
    }
    return out
  }
}
