internal import CProtobufC
import SkeinCore

/// Decodes messages: scans the bytes, cuts out what becomes slices, and lets protobuf-c unpack the
/// rest (the envelope) into an arena.
enum MessageDecoder {
  static func decode<M: CMessage>(
    _ type: M.Type, _ bytes: SharedBytes, _ limits: WireLimits
  ) throws(Fault) -> M {
    try bytes.withUnsafeBytes { (buffer) throws(Fault) in
      try PreScan.check(buffer, as: M.descriptor, limits: limits)
    }
    return try unpack(type, bytes, limits)
  }

  /// Decodes bytes that `PreScan` has passed, alone or as part of a larger message.
  static func unpack<M: CMessage>(
    _ type: M.Type, _ bytes: SharedBytes, _ limits: WireLimits
  ) throws(Fault) -> M {
    let sliced = M.slicedFields
    if sliced.isEmpty { return try unpackEnvelope(type, bytes, limits) }

    let split = try Split(of: bytes, slicing: sliced)
    guard split.slices.count <= limits.maxSlicedElements else {
      throw tooMany(split.slices.count, split.slices[0].field, of: M.descriptor, limits)
    }
    var message = try unpackEnvelope(type, split.envelope, limits)
    for (field, range) in split.slices {
      try message.attach(bytes.slice(range), field: field, limits: limits)
    }
    return message
  }

  private static func unpackEnvelope<M: CMessage>(
    _ type: M.Type, _ bytes: SharedBytes, _ limits: WireLimits
  ) throws(Fault) -> M {
    let budget = limits.arenaBudget(messageBytes: bytes.count)
    let arena = Arena(budget: budget, expected: min(budget, 3 * bytes.count))
    let message: M? = bytes.withUnsafeBytes { buffer in
      arena.unpack(M.descriptor, buffer, as: M.CStruct.self) { c in c.map { M($0, arena) } }
    }
    guard let message else { throw refusal(of: M.descriptor, arena: arena, budget: budget) }
    return message
  }

  private static func refusal(
    of descriptor: UnsafePointer<ProtobufCMessageDescriptor>, arena: Arena, budget: Int
  ) -> Fault {
    let name = String(cString: descriptor.pointee.name)
    guard arena.isExhausted else {
      return Fault(.malformedMessage, "\(name): the bytes do not decode", metadata: ["message": name])
    }
    return Fault(
      .malformedMessage,
      "\(name): decoding needs more than \(budget) bytes of memory; it holds too many small parts for its length",
      metadata: ["message": name, "limit": String(budget)])
  }

  private static func tooMany(
    _ count: Int, _ field: UInt32, of descriptor: UnsafePointer<ProtobufCMessageDescriptor>,
    _ limits: WireLimits
  ) -> Fault {
    let name = protobuf_c_message_descriptor_get_field(descriptor, field)?.pointee.name
    let path = name.map { String(cString: $0) } ?? "field \(field)"
    let problem = "\(count) entries; at most \(limits.maxSlicedElements)"
    return Fault(
      .invalidRequest, "\(path): \(problem); send several smaller messages",
      metadata: ["limit": String(limits.maxSlicedElements)],
      violations: [.init(field: path, description: problem)])
  }

  /// The top-level fields of a message, divided into slices and the rest.
  private struct Split {
    /// What protobuf-c unpacks: the message up to its first slice when all slices stand last (as our
    /// own encoders write it), otherwise a copy without them.
    var envelope: SharedBytes
    var slices: [(field: UInt32, range: Range<Int>)] = []

    init(of bytes: SharedBytes, slicing sliced: [UInt32]) throws(Fault) {
      var kept: [Range<Int>] = []
      var slices: [(field: UInt32, range: Range<Int>)] = []
      let isWhole = bytes.withUnsafeBytes { buffer in
        var reader = FieldReader(buffer)
        var from = 0
        while let field = reader.next() {
          if field.wireType == 2, sliced.contains(field.number) {
            slices.append((field.number, field.range))
          } else if let last = kept.last, last.upperBound == from {
            kept[kept.count - 1] = last.lowerBound..<reader.at
          } else {
            kept.append(from..<reader.at)
          }
          from = reader.at
        }
        return reader.isAtEnd
      }
      guard isWhole else { throw Fault(.malformedMessage, "the bytes do not decode") }
      self.slices = slices
      switch kept.count {
      case 0: envelope = .empty
      case 1: envelope = bytes.slice(kept[0])
      default:
        envelope = bytes.withUnsafeBytes { buffer in
          SharedBytes(kept.flatMap { buffer[$0] })
        }
      }
    }
  }
}
