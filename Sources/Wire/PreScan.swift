internal import CProtobufC
import SkeinCore

/// Walks the bytes of a message against its descriptor before protobuf-c sees them.
///
/// protobuf-c 1.4.1 accepts invalid UTF-8, ends strings at a NUL (`"ord\0xy"` reads `"ord"`: a way
/// round access rules), follows any depth, and allocates whatever a message makes it allocate. This
/// refuses all of that with a sentence that names the message and the field. It allocates nothing.
struct PreScan {
  private let bytes: UnsafeRawBufferPointer
  private let limits: WireLimits
  private var fields = 0
  private var elements = 0
  private var unknownFields = 0
  private var unknownBytes = 0

  static func check(
    _ bytes: UnsafeRawBufferPointer, as descriptor: UnsafePointer<ProtobufCMessageDescriptor>,
    limits: WireLimits
  ) throws(Fault) {
    var scan = PreScan(bytes: bytes, limits: limits)
    try scan.walk(descriptor, 0..<bytes.count, depth: 1)
  }

  private init(bytes: UnsafeRawBufferPointer, limits: WireLimits) {
    self.bytes = bytes
    self.limits = limits
  }

  private mutating func walk(
    _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, _ range: Range<Int>, depth: Int
  ) throws(Fault) {
    guard depth <= limits.maxDepth else {
      throw fault(descriptor, nil, "is nested more than \(limits.maxDepth) deep")
    }
    var reader = FieldReader(UnsafeRawBufferPointer(rebasing: bytes[range]))
    let start = range.lowerBound
    while let field = reader.next() {
      fields += 1
      guard fields <= limits.maxFields else {
        throw fault(descriptor, nil, "the message has more than \(limits.maxFields) fields")
      }
      let content = field.range.lowerBound + start..<field.range.upperBound + start
      if let known = Self.lookUp(field.number, in: descriptor) {
        try check(field, known, content, of: descriptor, depth: depth)
      } else {
        try countUnknown(content.count, of: descriptor)
      }
    }
    guard reader.isAtEnd else {
      throw fault(descriptor, nil, "is truncated or not protobuf at byte \(start + reader.at)")
    }
  }

  private mutating func check(
    _ field: FieldReader.Field, _ known: UnsafePointer<ProtobufCFieldDescriptor>,
    _ content: Range<Int>, of descriptor: UnsafePointer<ProtobufCMessageDescriptor>, depth: Int
  ) throws(Fault) {
    let type = known.pointee.type
    let expected = Self.wireType(of: type)
    let isRepeated = known.pointee.label == PROTOBUF_C_LABEL_REPEATED
    if field.wireType != expected {
      guard isRepeated, expected != 2, field.wireType == 2 else {
        throw fault(descriptor, known, "has wire type \(field.wireType) instead of \(expected)")
      }
      try checkPacked(content, expected, known, of: descriptor)
      return
    }
    if isRepeated { try countElements(1, known, of: descriptor) }
    switch type {
    case PROTOBUF_C_TYPE_STRING:
      switch UTF8Check.check(UnsafeRawBufferPointer(rebasing: bytes[content])) {
      case .valid: break
      case .containsNUL: throw fault(descriptor, known, "contains a NUL character")
      case .invalid: throw fault(descriptor, known, "is not valid UTF-8")
      }
    case PROTOBUF_C_TYPE_MESSAGE:
      guard let nested = known.pointee.descriptor else { return }
      try walk(nested.assumingMemoryBound(to: ProtobufCMessageDescriptor.self), content, depth: depth + 1)
    default: break
    }
  }

  /// Scalars of a repeated field in one length-delimited run.
  private mutating func checkPacked(
    _ content: Range<Int>, _ wireType: UInt8, _ field: UnsafePointer<ProtobufCFieldDescriptor>,
    of descriptor: UnsafePointer<ProtobufCMessageDescriptor>
  ) throws(Fault) {
    if wireType != 0 {
      let width = wireType == 1 ? 8 : 4
      guard content.count % width == 0 else { throw fault(descriptor, field, "is cut off") }
      return try countElements(content.count / width, field, of: descriptor)
    }
    let run = UnsafeRawBufferPointer(rebasing: bytes[content])
    var at = 0
    var count = 0
    while at < run.count {
      guard FieldReader.varint(run, &at, maxBytes: 10) != nil else {
        throw fault(descriptor, field, "is cut off")
      }
      count += 1
    }
    try countElements(count, field, of: descriptor)
  }

  private mutating func countElements(
    _ count: Int, _ field: UnsafePointer<ProtobufCFieldDescriptor>,
    of descriptor: UnsafePointer<ProtobufCMessageDescriptor>
  ) throws(Fault) {
    elements += count
    guard elements <= limits.maxElements else {
      throw fault(descriptor, field, "the message has more than \(limits.maxElements) repeated entries")
    }
  }

  private mutating func countUnknown(
    _ count: Int, of descriptor: UnsafePointer<ProtobufCMessageDescriptor>
  ) throws(Fault) {
    unknownFields += 1
    unknownBytes += count
    guard unknownFields <= limits.maxUnknownFields, unknownBytes <= limits.maxUnknownBytes else {
      throw fault(
        descriptor, nil,
        "the message has more than \(limits.maxUnknownFields) unknown fields or \(limits.maxUnknownBytes) bytes of them"
      )
    }
  }

  /// The field of that number: protobuf-c keeps them sorted, in runs without gaps.
  @inline(__always)
  private static func lookUp(
    _ number: UInt32, in descriptor: UnsafePointer<ProtobufCMessageDescriptor>
  ) -> UnsafePointer<ProtobufCFieldDescriptor>? {
    guard let ranges = descriptor.pointee.field_ranges, let fields = descriptor.pointee.fields else {
      return nil
    }
    for i in 0..<Int(descriptor.pointee.n_field_ranges) {
      let into = Int64(number) - Int64(ranges[i].start_value)
      if into < 0 { return nil }
      let first = Int64(ranges[i].orig_index)
      if into < Int64(ranges[i + 1].orig_index) - first { return fields + Int(first + into) }
    }
    return nil
  }

  private static func wireType(of type: ProtobufCType) -> UInt8 {
    switch type {
    case PROTOBUF_C_TYPE_STRING, PROTOBUF_C_TYPE_BYTES, PROTOBUF_C_TYPE_MESSAGE: 2
    case PROTOBUF_C_TYPE_FIXED64, PROTOBUF_C_TYPE_SFIXED64, PROTOBUF_C_TYPE_DOUBLE: 1
    case PROTOBUF_C_TYPE_FIXED32, PROTOBUF_C_TYPE_SFIXED32, PROTOBUF_C_TYPE_FLOAT: 5
    default: 0
    }
  }

  private func fault(
    _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>,
    _ field: UnsafePointer<ProtobufCFieldDescriptor>?, _ problem: String
  ) -> Fault {
    let message = String(cString: descriptor.pointee.name)
    guard let field, let name = field.pointee.name else {
      return Fault(.malformedMessage, "\(message): \(problem)", metadata: ["message": message])
    }
    let path = "\(message).\(String(cString: name))"
    return Fault(.malformedMessage, "\(path): \(problem)", metadata: ["message": message, "field": path])
  }
}
