import Foundation
import SkeinCore
import Wire

/// Scalars: what JSON may say of each type, and its bytes.
extension MessageFromJSON {
  /// - Parameter keepsDefault: also zero, false and empty are written.
  mutating func scalar(_ field: FieldSchema, _ item: JSONItem, keepsDefault: Bool) throws(Fault) {
    let number = field.number
    switch field.kind {
    case .bool:
      guard case .bool(let value) = item else {
        return try reject("must be true or false, not \(item.found)")
      }
      varint(number, value ? 1 : 0, keepsDefault)
    case .int32:
      if let value = try integer(item, Int32.self) {
        varint(number, UInt64(bitPattern: Int64(value)), keepsDefault)
      }
    case .int64:
      if let value = try integer(item, Int64.self) { varint(number, UInt64(bitPattern: value), keepsDefault) }
    case .uint32:
      if let value = try integer(item, UInt32.self) { varint(number, UInt64(value), keepsDefault) }
    case .uint64: if let value = try integer(item, UInt64.self) { varint(number, value, keepsDefault) }
    case .sint32:
      if let value = try integer(item, Int32.self) { varint(number, Self.zigzag(Int64(value)), keepsDefault) }
    case .sint64:
      if let value = try integer(item, Int64.self) { varint(number, Self.zigzag(value), keepsDefault) }
    case .fixed32: if let value = try integer(item, UInt32.self) { fixed32(number, value, keepsDefault) }
    case .sfixed32:
      if let value = try integer(item, Int32.self) {
        fixed32(number, UInt32(bitPattern: value), keepsDefault)
      }
    case .fixed64: if let value = try integer(item, UInt64.self) { fixed64(number, value, keepsDefault) }
    case .sfixed64:
      if let value = try integer(item, Int64.self) {
        fixed64(number, UInt64(bitPattern: value), keepsDefault)
      }
    case .double: if let value = try real(item) { fixed64(number, value.bitPattern, keepsDefault) }
    case .float:
      guard let value = try real(item) else { return }
      guard !value.isFinite || abs(value) <= Double(Float.greatestFiniteMagnitude) else {
        return try reject("must fit a 32-bit float, not \(item.found)")
      }
      fixed32(number, Float(value).bitPattern, keepsDefault)
    case .string: try string(number, item, keepsDefault)
    case .bytes:
      guard let bytes = try bytes(item) else { return }
      if keepsDefault || !bytes.isEmpty { out.delimited(number, bytes) }
    case .enumeration(let schema):
      if let value = try enumeration(schema, item) {
        varint(number, UInt64(bitPattern: Int64(value)), keepsDefault)
      }
    case .message: break
    }
  }

  private mutating func varint(_ field: UInt32, _ value: UInt64, _ keepsDefault: Bool) {
    guard keepsDefault || value != 0 else { return }
    if !isPacking { out.tag(field, 0) }
    out.varint(value)
  }

  private mutating func fixed32(_ field: UInt32, _ value: UInt32, _ keepsDefault: Bool) {
    guard keepsDefault || value != 0 else { return }
    if !isPacking { out.tag(field, 5) }
    out.fixed32(value)
  }

  private mutating func fixed64(_ field: UInt32, _ value: UInt64, _ keepsDefault: Bool) {
    guard keepsDefault || value != 0 else { return }
    if !isPacking { out.tag(field, 1) }
    out.fixed64(value)
  }

  private static func zigzag(_ value: Int64) -> UInt64 {
    UInt64(bitPattern: value << 1) ^ UInt64(bitPattern: value >> 63)
  }

  // MARK: Numbers

  /// A number, or a string of one; `1e3` and `2.0` are whole numbers too. nil after a rejection.
  private mutating func integer<T: FixedWidthInteger>(_ item: JSONItem, _ type: T.Type) throws(Fault) -> T? {
    if let value = Self.whole(item, type) { return value }
    try reject("must be a whole number from \(T.min) to \(T.max), not \(item.found)")
    return nil
  }

  private static func whole<T: FixedWidthInteger>(_ item: JSONItem, _ type: T.Type) -> T? {
    switch item {
    case .int(let value): return T(exactly: value)
    case .uint(let value): return T(exactly: value)
    case .real(let value): return integer(value, type)
    case .string(let text): return integer(text, type)
    default: return nil
    }
  }

  static func integer<T: FixedWidthInteger>(_ text: String, _ type: T.Type) -> T? {
    guard isNumber(text) else { return nil }
    if let value = T(text) { return value }
    guard text.utf8.count <= 64, let value = Double(text) else { return nil }
    return integer(value, type)
  }

  /// Beyond 2^53 a double no longer says which number was meant.
  private static func integer<T: FixedWidthInteger>(_ value: Double, _ type: T.Type) -> T? {
    abs(value) <= 9_007_199_254_740_992 ? T(exactly: value) : nil
  }

  /// JSON's own notation: Swift would also take `+1`, `0x10`, `nan` and the like.
  private static func isNumber(_ text: String) -> Bool {
    guard let first = text.utf8.first, let last = text.utf8.last else { return false }
    let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
    guard first == UInt8(ascii: "-") || digits.contains(first), digits.contains(last) else { return false }
    return text.utf8.allSatisfy { byte in
      digits.contains(byte) || "+-.eE".utf8.contains(byte)
    }
  }

  private mutating func real(_ item: JSONItem) throws(Fault) -> Double? {
    switch item {
    case .string("NaN"): return .nan
    case .string("Infinity"): return .infinity
    case .string("-Infinity"): return -.infinity
    case .int(let value): return Double(value)
    case .uint(let value): return Double(value)
    case .real(let value): return value
    case .string(let text):
      if Self.isNumber(text), let value = Double(text), value.isFinite { return value }
    default: break
    }
    try reject("must be a number, \"NaN\", \"Infinity\" or \"-Infinity\", not \(item.found)")
    return nil
  }

  private mutating func enumeration(_ schema: EnumSchema, _ item: JSONItem) throws(Fault) -> Int32? {
    switch item {
    case .string(let name):
      if let value = schema.number(named: name) { return value }
      let hint = NearestWord.hint(for: name, in: schema.names, quote: "\"")
      try reject(
        "must be one of \(schema.names.joined(separator: ", ")), or a number, not \(item.found)\(hint)")
      return nil
    case .int, .uint, .real: return try integer(item, Int32.self)
    default:
      try reject("must be one of \(schema.names.joined(separator: ", ")), or a number, not \(item.found)")
      return nil
    }
  }

  // MARK: Text and bytes

  private mutating func string(_ field: UInt32, _ item: JSONItem, _ keepsDefault: Bool) throws(Fault) {
    guard case .string(let text) = item else { return try reject("must be a string, not \(item.found)") }
    guard !text.utf8.contains(0) else { return try reject("must not contain a NUL character (\\u0000)") }
    if keepsDefault || !text.isEmpty { out.delimited(field, text.utf8) }
  }

  private mutating func bytes(_ item: JSONItem) throws(Fault) -> [UInt8]? {
    switch (form, item) {
    case (.text, .string(let text)): return Array(text.utf8)
    case (.text, .object(let object)):
      if object.count == 1, case .string(let text)? = object["base64"] {
        return try base64(text, item)
      }
      try reject("must be a string, or {\"base64\": \"…\"} for bytes that are not text")
      return nil
    case (.base64, .string(let text)): return try base64(text, item)
    default:
      try reject("must be a string\(form == .base64 ? " of base64" : ""), not \(item.found)")
      return nil
    }
  }

  /// The standard alphabet or the url-safe one, with padding or without.
  private mutating func base64(_ text: String, _ item: JSONItem) throws(Fault) -> [UInt8]? {
    var digits = Array(text.utf8)
    for index in digits.indices {
      if digits[index] == UInt8(ascii: "-") { digits[index] = UInt8(ascii: "+") }
      if digits[index] == UInt8(ascii: "_") { digits[index] = UInt8(ascii: "/") }
    }
    if digits.count % 4 > 1, digits.last != UInt8(ascii: "=") {
      digits += [UInt8](repeating: UInt8(ascii: "="), count: 4 - digits.count % 4)
    }
    if let data = Data(base64Encoded: Data(digits)) { return [UInt8](data) }
    try reject("must be base64 (of the bytes), not \(item.found); ?bytes=text takes text as it is")
    return nil
  }
}
