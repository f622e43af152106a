internal import CProtobufC
internal import CSkeinProto

/// What a message is made of, for code that is generic over all of them (the JSON mapping).
///
/// Read once from protobuf-c's descriptors, which are generated from `Proto/`. Immutable; any thread.
package final class MessageSchema: Sendable {
  /// `skein.v1.CreateTopicRequest`
  package let fullName: String
  /// In the order of field numbers.
  package let fields: [FieldSchema]
  private let byName: [String: Int]
  private let byNumber: [UInt32: Int]

  /// Every message below `Proto/` and the imported ones, map entries included, by full name.
  package static let all: [String: MessageSchema] = {
    var known: [UnsafePointer<ProtobufCMessageDescriptor>: MessageSchema] = [:]
    for i in 0..<Int32(skein_descriptor_count) {
      if let descriptor = skein_descriptor_at(i) { _ = schema(of: descriptor, &known) }
    }
    return Dictionary(known.values.map { ($0.fullName, $0) }) { first, _ in first }
  }()

  private init(fullName: String, fields: [FieldSchema]) {
    self.fullName = fullName
    self.fields = fields
    var names: [String: Int] = [:]
    for (index, field) in fields.enumerated() {
      names[field.name] = index
      names[field.jsonName] = index
    }
    byName = names
    byNumber = Dictionary(fields.enumerated().map { ($1.number, $0) }) { first, _ in first }
  }

  /// The index in `fields` of a field by its JSON name or its name in the `.proto` file.
  package func index(named name: String) -> Int? { byName[name] }
  package func index(numbered number: UInt32) -> Int? { byNumber[number] }
  package func field(named name: String) -> FieldSchema? { byName[name].map { fields[$0] } }

  /// No message contains itself (`AllMessagesTests`), so this ends.
  private static func schema(
    of descriptor: UnsafePointer<ProtobufCMessageDescriptor>,
    _ known: inout [UnsafePointer<ProtobufCMessageDescriptor>: MessageSchema]
  ) -> MessageSchema {
    if let schema = known[descriptor] { return schema }
    let fullName = String(cString: descriptor.pointee.name)
    var fields: [FieldSchema] = []
    for i in 0..<Int(descriptor.pointee.n_fields) {
      let field = descriptor.pointee.fields[i]
      var nested: MessageSchema?
      if field.type == PROTOBUF_C_TYPE_MESSAGE, let pointer = field.descriptor {
        nested = schema(of: pointer.assumingMemoryBound(to: ProtobufCMessageDescriptor.self), &known)
      }
      fields.append(FieldSchema(field, nested, of: fullName))
    }
    let schema = MessageSchema(fullName: fullName, fields: fields.sorted { $0.number < $1.number })
    known[descriptor] = schema
    return schema
  }
}

/// One field of a message. Immutable; any thread.
package struct FieldSchema: Sendable {
  package enum Kind: Sendable {
    case bool, float, double, string, bytes
    case int32, sint32, sfixed32, uint32, fixed32
    case int64, sint64, sfixed64, uint64, fixed64
    case enumeration(EnumSchema)
    case message(MessageSchema)

    /// Neither text, bytes nor a message: values of a repeated field are packed.
    package var isNumber: Bool {
      switch self {
      case .string, .bytes, .message: false
      default: true
      }
    }
  }

  package enum Shape: Sendable {
    /// A scalar at its default is the same as one that is absent.
    case plain
    /// Absent and default differ: messages, and members of a oneof.
    case presence
    case repeated
    /// Repeated entries of two fields: 1 the key, 2 the value.
    case map
  }

  package let number: UInt32
  /// As in the `.proto` file: `max_wait_ms`.
  package let name: String
  /// As in JSON: `maxWaitMs`.
  package let jsonName: String
  package let kind: Kind
  package let shape: Shape
  /// Members of one oneof share this number; nil outside any.
  package let oneof: UInt32?

  fileprivate init(_ field: ProtobufCFieldDescriptor, _ nested: MessageSchema?, of message: String) {
    number = field.id
    name = String(cString: field.name)
    jsonName = FieldSchema.camelCase(name)
    kind = Kind(field, nested)
    let isInOneof = field.flags & UInt32(PROTOBUF_C_FIELD_FLAG_ONEOF.rawValue) != 0
    oneof = isInOneof ? field.quantifier_offset : nil
    if field.label == PROTOBUF_C_LABEL_REPEATED {
      // protoc names the entries of a map so, and lets no other message have that name.
      let camel = FieldSchema.camelCase(name)
      let entry = "\(message).\(camel.prefix(1).uppercased())\(camel.dropFirst())Entry"
      shape = nested?.fullName == entry ? .map : .repeated
    } else {
      shape = isInOneof || nested != nil ? .presence : .plain
    }
  }

  /// protobuf's rule for JSON names: an underscore goes, and the letter behind it becomes a capital.
  package static func camelCase(_ name: String) -> String {
    var out = ""
    var capital = false
    for character in name {
      if character == "_" {
        capital = true
      } else {
        out += capital ? character.uppercased() : String(character)
        capital = false
      }
    }
    return out
  }
}

extension FieldSchema.Kind {
  fileprivate init(_ field: ProtobufCFieldDescriptor, _ nested: MessageSchema?) {
    if let nested {
      self = .message(nested)
      return
    }
    switch field.type {
    case PROTOBUF_C_TYPE_BOOL: self = .bool
    case PROTOBUF_C_TYPE_FLOAT: self = .float
    case PROTOBUF_C_TYPE_DOUBLE: self = .double
    case PROTOBUF_C_TYPE_STRING: self = .string
    case PROTOBUF_C_TYPE_INT32: self = .int32
    case PROTOBUF_C_TYPE_SINT32: self = .sint32
    case PROTOBUF_C_TYPE_SFIXED32: self = .sfixed32
    case PROTOBUF_C_TYPE_UINT32: self = .uint32
    case PROTOBUF_C_TYPE_FIXED32: self = .fixed32
    case PROTOBUF_C_TYPE_INT64: self = .int64
    case PROTOBUF_C_TYPE_SINT64: self = .sint64
    case PROTOBUF_C_TYPE_SFIXED64: self = .sfixed64
    case PROTOBUF_C_TYPE_UINT64: self = .uint64
    case PROTOBUF_C_TYPE_FIXED64: self = .fixed64
    case PROTOBUF_C_TYPE_ENUM: self = .enumeration(EnumSchema(field.descriptor))
    default: self = .bytes
    }
  }
}

/// The names and numbers of an enum. Immutable; any thread.
package struct EnumSchema: Sendable {
  package let fullName: String
  /// In the order of numbers.
  package let names: [String]
  private let byName: [String: Int32]
  private let byNumber: [Int32: String]

  package func number(named name: String) -> Int32? { byName[name] }
  package func name(numbered number: Int32) -> String? { byNumber[number] }

  fileprivate init(_ pointer: UnsafeRawPointer?) {
    guard let descriptor = pointer?.assumingMemoryBound(to: ProtobufCEnumDescriptor.self) else {
      (fullName, names, byName, byNumber) = ("", [], [:], [:])
      return
    }
    var names: [String] = []
    var byName: [String: Int32] = [:]
    var byNumber: [Int32: String] = [:]
    for i in 0..<Int(descriptor.pointee.n_values) {
      let value = descriptor.pointee.values[i]
      let name = String(cString: value.name)
      names.append(name)
      byName[name] = Int32(value.value)
      byNumber[Int32(value.value)] = name
    }
    // Aliases stand among the names only.
    for i in 0..<Int(descriptor.pointee.n_value_names) {
      let alias = descriptor.pointee.values_by_name[i]
      byName[String(cString: alias.name)] = Int32(descriptor.pointee.values[Int(alias.index)].value)
    }
    self.fullName = String(cString: descriptor.pointee.name)
    self.names = names
    self.byName = byName
    self.byNumber = byNumber
  }
}
