import Foundation
import SkeinCore
import Wire

/// The bytes of a protobuf message → JSON, by the proto JSON mapping, for any message of the contract.
///
/// Fields without presence are shown also at their default; unset messages and members of a oneof are not.
/// Fields that this version does not know are left out. Pure; any thread.
struct JSONFromMessage {
  let form: BytesForm
  let limits: JSONLimits

  /// - Throws: `INTERNAL` when the bytes are not a message of that type: they are our own.
  static func object(
    _ bytes: [UInt8], as schema: MessageSchema, form: BytesForm = .base64, limits: JSONLimits = JSONLimits()
  ) throws(Fault) -> [String: JSONItem] {
    let mapping = JSONFromMessage(form: form, limits: limits)
    // Array's own `withUnsafeBytes` does not know typed errors.
    let result = bytes.withUnsafeBytes { bytes -> Result<[String: JSONItem], Fault> in
      do throws(Fault) {
        return .success(try mapping.members(bytes, schema, depth: 1))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private func value(
    _ bytes: UnsafeRawBufferPointer, _ schema: MessageSchema, depth: Int
  ) throws(Fault) -> JSONItem {
    switch WellKnownType(schema) {
    case .duration: return try duration(bytes, schema)
    case .any: return try any(bytes, depth)
    case nil: return .object(try members(bytes, schema, depth: depth))
    }
  }

  private func members(
    _ bytes: UnsafeRawBufferPointer, _ schema: MessageSchema, depth: Int
  ) throws(Fault) -> [String: JSONItem] {
    guard depth <= limits.maxDepth else { throw Self.malformed(schema) }
    var found = [[FieldReader.Field]](repeating: [], count: schema.fields.count)
    var oneofs: [UInt32: Int] = [:]
    var reader = FieldReader(bytes)
    while let field = reader.next() {
      guard let index = schema.index(numbered: field.number) else { continue }
      if let oneof = schema.fields[index].oneof, let other = oneofs.updateValue(index, forKey: oneof),
        other != index
      {
        found[other] = []
      }
      found[index].append(field)
    }
    guard reader.isAtEnd else { throw Self.malformed(schema) }
    var object: [String: JSONItem] = [:]
    for (index, field) in schema.fields.enumerated() {
      if let value = try self.field(field, found[index], bytes, depth) { object[field.jsonName] = value }
    }
    return object
  }

  /// nil for a field with presence that is absent.
  private func field(
    _ field: FieldSchema, _ found: [FieldReader.Field], _ bytes: UnsafeRawBufferPointer, _ depth: Int
  ) throws(Fault) -> JSONItem? {
    switch field.shape {
    case .plain: return try scalar(field.kind, found.last, bytes)
    case .presence:
      guard let last = found.last else { return nil }
      guard case .message(let nested) = field.kind else { return try scalar(field.kind, last, bytes) }
      // Several occurrences of one message are one: their bytes, joined, say the same.
      if found.count == 1 { return try value(Self.slice(bytes, last.range), nested, depth: depth + 1) }
      let joined = SharedBytes(found.flatMap { Array(bytes[$0.range]) })
      return try joined.withUnsafeBytes { (joined) throws(Fault) -> JSONItem in
        try value(joined, nested, depth: depth + 1)
      }
    case .repeated:
      var elements: [JSONItem] = []
      elements.reserveCapacity(found.count)
      for one in found {
        if case .message(let nested) = field.kind {
          elements.append(try value(Self.slice(bytes, one.range), nested, depth: depth + 1))
        } else if one.wireType == 2, let type = Self.packedType(field.kind) {
          try packed(field.kind, type, Self.slice(bytes, one.range), into: &elements)
        } else {
          elements.append(try scalar(field.kind, one, bytes))
        }
      }
      return .array(elements)
    case .map: return .object(try map(field, found, bytes, depth))
    }
  }

  private func map(
    _ field: FieldSchema, _ found: [FieldReader.Field], _ bytes: UnsafeRawBufferPointer, _ depth: Int
  ) throws(Fault) -> [String: JSONItem] {
    guard case .message(let schema) = field.kind, schema.fields.count == 2 else { return [:] }
    var object: [String: JSONItem] = [:]
    for one in found {
      let entry = Self.slice(bytes, one.range)
      var reader = FieldReader(entry)
      var parts: [FieldReader.Field?] = [nil, nil]
      while let part = reader.next() {
        if (1...2).contains(part.number) { parts[Int(part.number) - 1] = part }
      }
      guard reader.isAtEnd else { throw Self.malformed(schema) }
      let key = try scalar(schema.fields[0].kind, parts[0], entry)
      if case .message(let nested) = schema.fields[1].kind {
        let content =
          parts[1].map { Self.slice(entry, $0.range) } ?? UnsafeRawBufferPointer(start: nil, count: 0)
        object[Self.key(key)] = try value(content, nested, depth: depth + 2)
      } else {
        object[Self.key(key)] = try scalar(schema.fields[1].kind, parts[1], entry)
      }
    }
    return object
  }

  // MARK: Scalars

  /// - Parameter field: nil means the default.
  private func scalar(
    _ kind: FieldSchema.Kind, _ field: FieldReader.Field?, _ bytes: UnsafeRawBufferPointer
  ) throws(Fault) -> JSONItem {
    let content = field.map { Self.slice(bytes, $0.range) } ?? UnsafeRawBufferPointer(start: nil, count: 0)
    switch kind {
    case .string: return .string(String(decoding: content, as: UTF8.self))
    case .bytes: return self.bytes(content)
    default: return number(kind, varint: field?.value ?? 0, fixed: content)
    }
  }

  private func number(_ kind: FieldSchema.Kind, varint: UInt64, fixed: UnsafeRawBufferPointer) -> JSONItem {
    switch kind {
    case .bool: return .bool(varint != 0)
    case .int32: return .int(Int64(Int32(truncatingIfNeeded: varint)))
    case .uint32: return .int(Int64(UInt32(truncatingIfNeeded: varint)))
    case .sint32: return .int(Int64(Int32(truncatingIfNeeded: Self.unzigzag(varint))))
    case .int64: return .string(String(Int64(bitPattern: varint)))
    case .uint64: return .string(String(varint))
    case .sint64: return .string(String(Self.unzigzag(varint)))
    case .fixed32: return .int(Int64(Self.load(fixed, UInt32.self)))
    case .sfixed32: return .int(Int64(Int32(bitPattern: Self.load(fixed, UInt32.self))))
    case .fixed64: return .string(String(Self.load(fixed, UInt64.self)))
    case .sfixed64: return .string(String(Int64(bitPattern: Self.load(fixed, UInt64.self))))
    case .double: return Self.real(Double(bitPattern: Self.load(fixed, UInt64.self)))
    case .float:
      let value = Float(bitPattern: Self.load(fixed, UInt32.self))
      // The shortest text that means this float, not the digits of the double beside it.
      return Self.real(value.isFinite ? Double("\(value)") ?? Double(value) : Double(value))
    case .enumeration(let schema):
      let value = Int32(truncatingIfNeeded: varint)
      return schema.name(numbered: value).map { .string($0) } ?? .int(Int64(value))
    case .string, .bytes, .message: return .string("")
    }
  }

  private func packed(
    _ kind: FieldSchema.Kind, _ wireType: UInt8, _ run: UnsafeRawBufferPointer,
    into elements: inout [JSONItem]
  ) throws(Fault) {
    var at = 0
    while at < run.count {
      if wireType == 0 {
        guard let value = FieldReader.varint(run, &at, maxBytes: 10) else { throw Self.malformed(nil) }
        elements.append(number(kind, varint: value, fixed: UnsafeRawBufferPointer(start: nil, count: 0)))
      } else {
        let width = wireType == 1 ? 8 : 4
        guard run.count - at >= width else { throw Self.malformed(nil) }
        elements.append(number(kind, varint: 0, fixed: Self.slice(run, at..<at + width)))
        at += width
      }
    }
  }

  private func bytes(_ content: UnsafeRawBufferPointer) -> JSONItem {
    switch form {
    case .base64: return .string(Data(content).base64EncodedString())
    case .text:
      if let text = String(validating: content, as: UTF8.self) { return .string(text) }
      return .object(["base64": .string(Data(content).base64EncodedString())])
    }
  }

  /// Keys are strings in JSON, whatever they are in the message.
  private static func key(_ item: JSONItem) -> String {
    if case .string(let text) = item { text } else { item.found }
  }

  private static func packedType(_ kind: FieldSchema.Kind) -> UInt8? {
    switch kind {
    case .string, .bytes, .message: nil
    case .fixed64, .sfixed64, .double: 1
    case .fixed32, .sfixed32, .float: 5
    default: 0
    }
  }

  private static func real(_ value: Double) -> JSONItem {
    if value.isNaN { return .string("NaN") }
    if value.isInfinite { return .string(value < 0 ? "-Infinity" : "Infinity") }
    return .real(value)
  }

  private static func unzigzag(_ value: UInt64) -> Int64 {
    Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
  }

  /// Little-endian; zero when there are not enough bytes.
  private static func load<T: FixedWidthInteger & UnsignedInteger>(
    _ bytes: UnsafeRawBufferPointer, _ type: T.Type
  ) -> T {
    guard bytes.count >= MemoryLayout<T>.size else { return 0 }
    var value: T = 0
    for i in 0..<MemoryLayout<T>.size { value |= T(bytes[i]) << T(8 * i) }
    return value
  }

  // MARK: Well-known types

  private func duration(_ bytes: UnsafeRawBufferPointer, _ schema: MessageSchema) throws(Fault) -> JSONItem {
    var duration = DurationText(seconds: 0, nanos: 0)
    var reader = FieldReader(bytes)
    while let field = reader.next() {
      if field.number == 1 { duration.seconds = Int64(bitPattern: field.value) }
      if field.number == 2 { duration.nanos = Int32(truncatingIfNeeded: field.value) }
    }
    guard reader.isAtEnd else { throw Self.malformed(schema) }
    return .string(duration.text)
  }

  /// A type that this version does not know is shown as its bytes.
  private func any(_ bytes: UnsafeRawBufferPointer, _ depth: Int) throws(Fault) -> JSONItem {
    var url = ""
    var content = UnsafeRawBufferPointer(start: nil, count: 0)
    var reader = FieldReader(bytes)
    while let field = reader.next() {
      if field.number == 1 { url = String(decoding: Self.slice(bytes, field.range), as: UTF8.self) }
      if field.number == 2 { content = Self.slice(bytes, field.range) }
    }
    guard reader.isAtEnd else { throw Self.malformed(nil) }
    guard !url.isEmpty || !content.isEmpty else { return .object([:]) }
    guard let schema = WellKnownType.schema(ofTypeURL: url) else {
      return .object(["@type": .string(url), "value": .string(Data(content).base64EncodedString())])
    }
    let inner = try value(content, schema, depth: depth + 1)
    guard WellKnownType(schema) == nil, case .object(var object) = inner else {
      return .object(["@type": .string(url), "value": inner])
    }
    object["@type"] = .string(url)
    return .object(object)
  }

  private static func slice(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[range])
  }

  private static func malformed(_ schema: MessageSchema?) -> Fault {
    Fault(.internalError, "the answer is not a valid \(schema?.fullName ?? "message")")
  }
}
