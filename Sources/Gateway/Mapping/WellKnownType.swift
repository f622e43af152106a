import SkeinCore
import Wire

/// The types of google.protobuf that the contract uses and that have a JSON form of their own.
enum WellKnownType: String, CaseIterable {
  case any = "google.protobuf.Any"
  case duration = "google.protobuf.Duration"

  init?(_ schema: MessageSchema) {
    guard schema.fullName.hasPrefix("google.protobuf.") else { return nil }
    self.init(rawValue: schema.fullName)
  }

  /// The message that a type URL names: the part behind the last slash.
  static func schema(ofTypeURL url: String) -> MessageSchema? {
    guard let slash = url.lastIndex(of: "/") else { return nil }
    return MessageSchema.all[String(url[url.index(after: slash)...])]
  }
}

/// `1.5s`: a count of seconds and of nanoseconds of the same sign.
struct DurationText {
  static let maxSeconds: Int64 = 315_576_000_000

  var seconds: Int64
  var nanos: Int32

  /// nil when it is none, or beyond 10,000 years.
  init?(_ text: String) {
    guard text.hasSuffix("s") else { return nil }
    let isNegative = text.hasPrefix("-")
    let parts = text.dropLast().dropFirst(isNegative ? 1 : 0).split(
      separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), Self.isDigits(parts[0], 1...12), let whole = Int64(parts[0]),
      whole <= Self.maxSeconds
    else { return nil }
    var fraction: Int32 = 0
    if parts.count == 2 {
      guard Self.isDigits(parts[1], 1...9) else { return nil }
      fraction = Int32(parts[1] + String(repeating: "0", count: 9 - parts[1].count)) ?? 0
    }
    seconds = isNegative ? -whole : whole
    nanos = isNegative ? -fraction : fraction
  }

  init(seconds: Int64, nanos: Int32) {
    self.seconds = seconds
    self.nanos = nanos
  }

  /// With 0, 3, 6 or 9 digits behind the point.
  var text: String {
    let sign = seconds < 0 || nanos < 0 ? "-" : ""
    let whole = sign + String(seconds.magnitude)
    guard nanos != 0 else { return whole + "s" }
    var digits = String(nanos.magnitude)
    digits = String(repeating: "0", count: max(0, 9 - digits.count)) + digits
    while digits.hasSuffix("000") { digits.removeLast(3) }
    return "\(whole).\(digits)s"
  }

  private static func isDigits(_ text: Substring, _ count: ClosedRange<Int>) -> Bool {
    count.contains(text.utf8.count)
      && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
  }
}

extension MessageFromJSON {
  mutating func wellKnown(
    _ type: WellKnownType, _ item: JSONItem, _ schema: MessageSchema, _ depth: Int
  ) throws(Fault) {
    switch type {
    case .duration:
      guard case .string(let text) = item, let duration = DurationText(text) else {
        return try reject("must be a duration such as \"1.5s\", not \(item.found)")
      }
      try scalar(schema.fields[0], .int(duration.seconds), keepsDefault: false)
      try scalar(schema.fields[1], .int(Int64(duration.nanos)), keepsDefault: false)
    case .any: try any(item, depth)
    }
  }

  /// `{"@type": URL, …members}`, or `{"@type": URL, "value": …}` for a type with a form of its own.
  private mutating func any(_ item: JSONItem, _ depth: Int) throws(Fault) {
    guard case .object(var object) = item else { return try reject("must be an object, not \(item.found)") }
    guard let type = object.removeValue(forKey: "@type") else {
      if !object.isEmpty { try reject("must have \"@type\"") }
      return
    }
    guard case .string(let url) = type, let nested = WellKnownType.schema(ofTypeURL: url) else {
      return try reject(
        "must name a message of this contract, not \(type.found)", at: .field("@type"))
    }
    out.delimited(1, url.utf8)
    let start = out.bytes.count
    let mark = out.begin(2)
    if WellKnownType(nested) == nil {
      try value(.object(object), of: nested, depth: depth + 1)
    } else {
      try value(object["value"] ?? .null, of: nested, depth: depth + 1)
    }
    if out.bytes.count == mark { out.truncate(to: start) } else { out.end(mark) }
  }
}
