package import SkeinCore

/// Receives the fields of a message. One generated `write(to:)` per message serves for measuring
/// (`SizeSink`) and for writing (`BufferSink`), so the two cannot disagree.
///
/// Verbs without `present` leave a field at its default out, as proto3 asks; the `present` verbs
/// belong to fields with presence and write every value but nil.
package protocol FieldSink {
  mutating func varint(_ field: UInt32, always value: UInt64)
  mutating func raw(_ field: UInt32, always bytes: UnsafeRawBufferPointer)
  mutating func raw(_ field: UInt32, alwaysPayload parts: [SharedBytes], count: Int)
  mutating func nested(_ field: UInt32, _ value: some FieldWriting)
  mutating func packed(_ field: UInt32, _ values: some Collection<UInt64>)
}

extension FieldSink {
  // MARK: Plain fields

  @inline(__always) mutating func int32(_ field: UInt32, _ value: Int32) {
    if value != 0 { varint(field, always: UInt64(bitPattern: Int64(value))) }
  }
  @inline(__always) mutating func int64(_ field: UInt32, _ value: Int64) {
    if value != 0 { varint(field, always: UInt64(bitPattern: value)) }
  }
  @inline(__always) mutating func uint32(_ field: UInt32, _ value: UInt32) {
    if value != 0 { varint(field, always: UInt64(value)) }
  }
  @inline(__always) mutating func uint64(_ field: UInt32, _ value: UInt64) {
    if value != 0 { varint(field, always: value) }
  }
  @inline(__always) mutating func bool(_ field: UInt32, _ value: Bool) {
    if value { varint(field, always: 1) }
  }
  @inline(__always) mutating func enumeration(_ field: UInt32, _ value: some WireEnum) {
    int32(field, value.rawValue)
  }
  @inline(__always) mutating func string(_ field: UInt32, _ value: String) {
    if !value.isEmpty { presentString(field, value) }
  }
  @inline(__always) mutating func bytes(_ field: UInt32, _ value: SharedBytes) {
    if !value.isEmpty { presentBytes(field, value) }
  }
  @inline(__always) mutating func bytes(_ field: UInt32, _ value: [UInt8]) {
    if !value.isEmpty { presentBytes(field, value) }
  }
  @inline(__always) mutating func payload(_ field: UInt32, _ value: SharedBytes) {
    if !value.isEmpty { raw(field, alwaysPayload: [value], count: value.count) }
  }
  @inline(__always) mutating func payload(_ field: UInt32, _ value: Payload) {
    if !value.isEmpty { raw(field, alwaysPayload: value.parts, count: value.count) }
  }
  @inline(__always) mutating func message(_ field: UInt32, _ value: (some WireMessage)?) {
    if let value { nested(field, value) }
  }

  // MARK: Fields with presence

  @inline(__always) mutating func presentInt32(_ field: UInt32, _ value: Int32?) {
    if let value { varint(field, always: UInt64(bitPattern: Int64(value))) }
  }
  @inline(__always) mutating func presentInt64(_ field: UInt32, _ value: Int64?) {
    if let value { varint(field, always: UInt64(bitPattern: value)) }
  }
  @inline(__always) mutating func presentUint32(_ field: UInt32, _ value: UInt32?) {
    if let value { varint(field, always: UInt64(value)) }
  }
  @inline(__always) mutating func presentUint64(_ field: UInt32, _ value: UInt64?) {
    if let value { varint(field, always: value) }
  }
  @inline(__always) mutating func presentBool(_ field: UInt32, _ value: Bool?) {
    if let value { varint(field, always: value ? 1 : 0) }
  }
  @inline(__always) mutating func presentEnumeration(_ field: UInt32, _ value: (some WireEnum)?) {
    presentInt32(field, value?.rawValue)
  }
  @inline(__always) mutating func presentString(_ field: UInt32, _ value: String?) {
    guard var value else { return }
    value.withUTF8 { raw(field, always: UnsafeRawBufferPointer($0)) }
  }
  @inline(__always) mutating func presentBytes(_ field: UInt32, _ value: SharedBytes?) {
    value?.withUnsafeBytes { raw(field, always: $0) }
  }
  @inline(__always) mutating func presentBytes(_ field: UInt32, _ value: [UInt8]?) {
    value?.withUnsafeBytes { raw(field, always: $0) }
  }

  // MARK: Repeated fields

  mutating func messages(_ field: UInt32, _ values: [some WireMessage]) {
    for value in values { nested(field, value) }
  }
  mutating func strings(_ field: UInt32, _ values: [String]) {
    for value in values { presentString(field, value) }
  }
  mutating func byteStrings(_ field: UInt32, _ values: [[UInt8]]) {
    for value in values { presentBytes(field, value) }
  }
  mutating func byteStrings(_ field: UInt32, _ values: [SharedBytes]) {
    for value in values { presentBytes(field, value) }
  }
  mutating func int32s(_ field: UInt32, _ values: [Int32]) {
    if !values.isEmpty { packed(field, values.lazy.map { UInt64(bitPattern: Int64($0)) }) }
  }
  mutating func int64s(_ field: UInt32, _ values: [Int64]) {
    if !values.isEmpty { packed(field, values.lazy.map { UInt64(bitPattern: $0) }) }
  }
  mutating func uint32s(_ field: UInt32, _ values: [UInt32]) {
    if !values.isEmpty { packed(field, values.lazy.map { UInt64($0) }) }
  }
  mutating func uint64s(_ field: UInt32, _ values: [UInt64]) {
    if !values.isEmpty { packed(field, values) }
  }
  mutating func bools(_ field: UInt32, _ values: [Bool]) {
    if !values.isEmpty { packed(field, values.lazy.map { $0 ? 1 : 0 }) }
  }
  mutating func enumerations(_ field: UInt32, _ values: [some WireEnum]) {
    int32s(field, values.map(\.rawValue))
  }
  /// In the order of the keys, so that equal maps have equal bytes.
  mutating func map(_ field: UInt32, _ values: [String: String]) {
    for (key, value) in values.sorted(by: { $0.key < $1.key }) {
      nested(field, MapEntry(key: key, value: value))
    }
  }
}

/// An entry of a `map<string, string>`, which protobuf encodes as a message.
private struct MapEntry: FieldWriting {
  let key: String
  let value: String

  func write(to sink: inout some FieldSink) {
    sink.presentString(1, key)
    sink.presentString(2, value)
  }
}
