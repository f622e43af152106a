import SkeinCore
import Wire

/// `:path` of a request: decoded segments and query parameters. A plain value.
struct RequestTarget {
  /// Parameters of one request; more are refused.
  static let maxParameters = 2_000

  /// The path as sent, without the query.
  let text: String
  let path: [String]
  /// In order, repeated names included.
  let query: [(name: String, value: String)]

  /// - Throws: `PARAMETER_INVALID` for what is not percent-encoded UTF-8.
  init(_ target: String) throws(Fault) {
    let halves = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    text = String(halves[0])
    var path: [String] = []
    for segment in halves[0].split(separator: "/", omittingEmptySubsequences: false).dropFirst() {
      guard let decoded = Self.decode(segment.utf8, plusIsSpace: false) else {
        throw Self.malformed("path", String(segment))
      }
      path.append(decoded)
    }
    self.path = path
    var query: [(String, String)] = []
    let pairs = halves.count > 1 ? halves[1].split(separator: "&") : []
    guard pairs.count <= Self.maxParameters else {
      throw Fault(.parameterInvalid, "\(pairs.count) query parameters; at most \(Self.maxParameters)")
    }
    for pair in pairs {
      let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let name = Self.decode(sides[0].utf8, plusIsSpace: true),
        let value = Self.decode((sides.count > 1 ? sides[1] : "").utf8, plusIsSpace: true)
      else { throw Self.malformed("query", String(pair)) }
      query.append((name, value))
    }
    self.query = query
  }

  private static func malformed(_ place: String, _ part: String) -> Fault {
    Fault(
      .parameterInvalid,
      "the \(place) is malformed at \"\(part.displayable)\": bytes are written as % and two hexadecimal digits, in UTF-8 without NUL",
      violations: [.init(field: place, description: "malformed percent-encoding")])
  }

  /// nil when an escape is cut off or the bytes are not UTF-8 without NUL.
  private static func decode(_ text: some Collection<UInt8>, plusIsSpace: Bool) -> String? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count)
    var at = text.startIndex
    while at != text.endIndex {
      let byte = text[at]
      text.formIndex(after: &at)
      guard byte == UInt8(ascii: "%") else {
        bytes.append(plusIsSpace && byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
        continue
      }
      var value: UInt8 = 0
      for _ in 0..<2 {
        guard at != text.endIndex, let digit = Character(UnicodeScalar(text[at])).hexDigitValue else {
          return nil
        }
        value = value << 4 | UInt8(digit)
        text.formIndex(after: &at)
      }
      bytes.append(value)
    }
    guard bytes.withUnsafeBytes({ UTF8Check.check($0) }) == .valid else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }
}
