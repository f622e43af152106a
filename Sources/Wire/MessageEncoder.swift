import SkeinCore

/// Encodes messages: measures, allocates once, writes.
///
/// Encoding does not go through protobuf-c: its packer wants a tree of C structs with a pointer for
/// each string and record, while these values can be written as they are. The tests decode what
/// this writes with protobuf-c and with Python's protobuf, for every message.
enum MessageEncoder {
  static func size(_ message: some FieldWriting) -> SizeSink {
    var size = SizeSink()
    message.write(to: &size)
    return size
  }

  static func encode(_ message: some FieldWriting) -> [UInt8] {
    let size = size(message).total
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      guard let base = buffer.baseAddress else { return }
      var sink = BufferSink(UnsafeMutableRawPointer(base), keepsPayloadsApart: false)
      message.write(to: &sink)
      assert(sink.at == size)
      count = sink.at
    }
  }

  /// `head` is everything before the first payload; then payloads and the bytes between them.
  static func encodeParts(_ message: some FieldWriting) -> (head: [UInt8], payload: [SharedBytes]) {
    let size = size(message)
    if size.payload == 0 { return (encode(message), []) }
    let storage = SharedBytes.Storage(capacity: size.total - size.payload)
    var sink = BufferSink(storage.base, keepsPayloadsApart: true)
    message.write(to: &sink)
    assert(sink.at == size.total - size.payload)

    let headEnd = sink.cuts.first?.at ?? sink.at
    let head = [UInt8](UnsafeRawBufferPointer(start: storage.base, count: headEnd))
    var parts: [SharedBytes] = []
    var from = headEnd
    for cut in sink.cuts {
      if cut.at > from { parts.append(SharedBytes(storage, offset: from, count: cut.at - from)) }
      parts += cut.parts
      from = cut.at
    }
    if sink.at > from { parts.append(SharedBytes(storage, offset: from, count: sink.at - from)) }
    return (head, parts)
  }

  @inline(__always)
  static func varintSize(_ value: UInt64) -> Int {
    (70 - (value | 1).leadingZeroBitCount) / 7
  }
}

/// Counts the bytes of an encoding.
struct SizeSink: FieldSink {
  /// All bytes, payloads included.
  private(set) var total = 0
  /// The bytes of payload fields, without their tags and lengths.
  private(set) var payload = 0

  @inline(__always)
  private func tag(_ field: UInt32) -> Int { MessageEncoder.varintSize(UInt64(field) << 3) }

  @inline(__always)
  private mutating func add(_ field: UInt32, length: Int) {
    total += tag(field) + MessageEncoder.varintSize(UInt64(length)) + length
  }

  mutating func varint(_ field: UInt32, always value: UInt64) {
    total += tag(field) + MessageEncoder.varintSize(value)
  }

  mutating func raw(_ field: UInt32, always bytes: UnsafeRawBufferPointer) {
    add(field, length: bytes.count)
  }

  mutating func raw(_ field: UInt32, alwaysPayload parts: [SharedBytes], count: Int) {
    add(field, length: count)
    payload += count
  }

  mutating func nested(_ field: UInt32, _ value: some FieldWriting) {
    let size = MessageEncoder.size(value)
    add(field, length: size.total)
    payload += size.payload
  }

  mutating func packed(_ field: UInt32, _ values: some Collection<UInt64>) {
    add(field, length: values.reduce(0) { $0 + MessageEncoder.varintSize($1) })
  }
}

/// Writes an encoding into memory that `SizeSink` has measured.
struct BufferSink: FieldSink {
  private let base: UnsafeMutableRawPointer
  private let keepsPayloadsApart: Bool
  /// Bytes written.
  private(set) var at = 0
  /// Where payloads belong that were left out.
  private(set) var cuts: [(at: Int, parts: [SharedBytes])] = []

  init(_ base: UnsafeMutableRawPointer, keepsPayloadsApart: Bool) {
    self.base = base
    self.keepsPayloadsApart = keepsPayloadsApart
  }

  @inline(__always)
  private mutating func put(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      base.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, toByteOffset: at, as: UInt8.self)
      at += 1
      rest >>= 7
    }
    base.storeBytes(of: UInt8(truncatingIfNeeded: rest), toByteOffset: at, as: UInt8.self)
    at += 1
  }

  @inline(__always)
  private mutating func begin(_ field: UInt32, length: Int) {
    put(UInt64(field) << 3 | 2)
    put(UInt64(length))
  }

  @inline(__always)
  private mutating func copy(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress else { return }
    (base + at).copyMemory(from: source, byteCount: bytes.count)
    at += bytes.count
  }

  mutating func varint(_ field: UInt32, always value: UInt64) {
    put(UInt64(field) << 3)
    put(value)
  }

  mutating func raw(_ field: UInt32, always bytes: UnsafeRawBufferPointer) {
    begin(field, length: bytes.count)
    copy(bytes)
  }

  mutating func raw(_ field: UInt32, alwaysPayload parts: [SharedBytes], count: Int) {
    begin(field, length: count)
    if keepsPayloadsApart {
      cuts.append((at, parts))
    } else {
      for part in parts { part.withUnsafeBytes { copy($0) } }
    }
  }

  mutating func nested(_ field: UInt32, _ value: some FieldWriting) {
    begin(field, length: MessageEncoder.size(value).total)
    value.write(to: &self)
  }

  mutating func packed(_ field: UInt32, _ values: some Collection<UInt64>) {
    begin(field, length: values.reduce(0) { $0 + MessageEncoder.varintSize($1) })
    for value in values { put(value) }
  }
}
