/// A JSON value to print. Objects keep the order of their keys.
enum JSON {
  case object([(String, JSON)])
  case array([JSON])
  case string(String)
  case int(Int64)
  case double(Double)
  case bool(Bool)
  case null

  /// On one line.
  var text: String {
    var out = ""
    write(to: &out)
    return out
  }

  private func write(to out: inout String) {
    switch self {
    case .object(let fields):
      out += "{"
      for (index, (key, value)) in fields.enumerated() {
        if index > 0 { out += "," }
        Self.quote(key, to: &out)
        out += ":"
        value.write(to: &out)
      }
      out += "}"
    case .array(let values):
      out += "["
      for (index, value) in values.enumerated() {
        if index > 0 { out += "," }
        value.write(to: &out)
      }
      out += "]"
    case .string(let text): Self.quote(text, to: &out)
    case .int(let value): out += String(value)
    // JSON has no word for what is not a number.
    case .double(let value): out += value.isFinite ? String(value) : "null"
    case .bool(let value): out += value ? "true" : "false"
    case .null: out += "null"
    }
  }

  /// RFC 8259; everything beyond printable ASCII that could drive a terminal is escaped as well.
  private static func quote(_ text: String, to out: inout String) {
    out += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      default:
        let isControl = scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
        if isControl || scalar.value == 0x2028 || scalar.value == 0x2029 {
          let digits = String(scalar.value, radix: 16)
          out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          out.unicodeScalars.append(scalar)
        }
      }
    }
    out += "\""
  }

  static func integers(_ fields: [(String, Int64)]) -> JSON {
    .object(fields.map { ($0.0, .int($0.1)) })
  }
}
