import SkeinCore
import Wire

/// JSON → the bytes of a protobuf message, by the proto JSON mapping, for any message of the contract.
///
/// Every problem is listed with its path, up to `JSONLimits.maxViolations`. Scalars at their default are left
/// out, fields stand in the order of their numbers. Pure; any thread.
struct MessageFromJSON {
  let limits: JSONLimits
  let form: BytesForm
  /// `JSON_INVALID`, or `PARAMETER_INVALID` when the values came from path and query.
  let reason: Reason
  private let root: MessageSchema
  var out = WireBuffer()
  var path: [JSONPathStep] = []
  /// Numbers of a repeated field lie in one run, without a tag each.
  private(set) var isPacking = false
  private var violations: [Fault.FieldViolation] = []

  /// - Throws: `JSON_INVALID` with every problem, `MESSAGE_TOO_LARGE`.
  static func encode(
    _ object: [String: JSONItem], as schema: MessageSchema, form: BytesForm = .base64,
    limits: JSONLimits = JSONLimits(), reason: Reason = .jsonInvalid
  ) throws(Fault) -> [UInt8] {
    var mapping = MessageFromJSON(limits: limits, form: form, reason: reason, root: schema)
    try mapping.value(.object(object), of: schema, depth: 1)
    if !mapping.violations.isEmpty { throw mapping.fault() }
    return mapping.out.bytes
  }

  private init(limits: JSONLimits, form: BytesForm, reason: Reason, root: MessageSchema) {
    self.limits = limits
    self.form = form
    self.reason = reason
    self.root = root
  }

  // MARK: Messages

  /// The content of a message, well-known types by their own rules.
  mutating func value(_ item: JSONItem, of schema: MessageSchema, depth: Int) throws(Fault) {
    guard depth <= limits.maxDepth else {
      throw Fault(reason, "\(JSONPathStep.text(path)) is nested more than \(limits.maxDepth) messages deep")
    }
    if let wellKnown = WellKnownType(schema) { return try self.wellKnown(wellKnown, item, schema, depth) }
    guard case .object(let object) = item else {
      return try reject("must be an object (\(schema.fullName)), not \(item.found)")
    }
    try members(object, of: schema, depth)
    guard out.bytes.count <= limits.maxBodyBytes else {
      throw Fault(
        .messageTooLarge, "the message made of this JSON exceeds \(limits.maxBodyBytes) bytes",
        metadata: ["limit": String(limits.maxBodyBytes)])
    }
  }

  mutating func members(_ object: [String: JSONItem], of schema: MessageSchema, _ depth: Int) throws(Fault) {
    var values = [JSONItem?](repeating: nil, count: schema.fields.count)
    for (name, value) in object {
      guard let index = schema.index(named: name) else {
        try reject(unknown: name, in: schema)
        continue
      }
      guard values[index] == nil else {
        let field = schema.fields[index]
        try reject("is given twice, as \(field.jsonName) and as \(field.name)", at: .field(field.jsonName))
        continue
      }
      values[index] = value
    }
    var oneofs: [UInt32: String] = [:]
    for (index, item) in values.enumerated() {
      guard let item, !item.isNull else { continue }
      let field = schema.fields[index]
      path.append(.field(field.jsonName))
      if let oneof = field.oneof, let other = oneofs.updateValue(field.jsonName, forKey: oneof) {
        try reject("excludes \(other): give one of the two")
      } else {
        try self.field(field, item, depth)
      }
      path.removeLast()
    }
  }

  private mutating func field(_ field: FieldSchema, _ item: JSONItem, _ depth: Int) throws(Fault) {
    switch field.shape {
    case .plain: try scalar(field, item, keepsDefault: false)
    case .presence:
      guard case .message(let nested) = field.kind else { return try scalar(field, item, keepsDefault: true) }
      let mark = out.begin(field.number)
      try value(item, of: nested, depth: depth + 1)
      out.end(mark)
    case .repeated:
      guard case .array(let elements) = item else { return try reject("must be an array, not \(item.found)") }
      try repeated(field, elements, depth)
    case .map:
      guard case .object(let entries) = item else {
        return try reject("must be an object, not \(item.found)")
      }
      try map(field, entries, depth)
    }
  }

  private mutating func repeated(_ field: FieldSchema, _ elements: [JSONItem], _ depth: Int) throws(Fault) {
    let run = field.kind.isNumber && !elements.isEmpty ? out.begin(field.number) : nil
    isPacking = run != nil
    defer {
      isPacking = false
      if let run { out.end(run) }
    }
    for (index, item) in elements.enumerated() {
      path.append(.index(index))
      if item.isNull {
        try reject("must not be null: an array has no empty places")
      } else if case .message(let nested) = field.kind {
        let mark = out.begin(field.number)
        try value(item, of: nested, depth: depth + 1)
        out.end(mark)
      } else {
        try scalar(field, item, keepsDefault: true)
      }
      path.removeLast()
    }
  }

  private mutating func map(_ field: FieldSchema, _ entries: [String: JSONItem], _ depth: Int) throws(Fault) {
    guard case .message(let entry) = field.kind, entry.fields.count == 2 else { return }
    for (key, item) in entries.sorted(by: { $0.key < $1.key }) {
      path.append(.key(key))
      let mark = out.begin(field.number)
      try scalar(entry.fields[0], Self.keyItem(key, of: entry.fields[0].kind), keepsDefault: true)
      if item.isNull {
        try reject("must not be null: leave the entry out instead")
      } else if case .message(let nested) = entry.fields[1].kind {
        let inner = out.begin(2)
        try self.value(item, of: nested, depth: depth + 2)
        out.end(inner)
      } else {
        try scalar(entry.fields[1], item, keepsDefault: true)
      }
      out.end(mark)
      path.removeLast()
    }
  }

  /// Keys are always strings in JSON; only those of `bool` need to be read as something else.
  private static func keyItem(_ key: String, of kind: FieldSchema.Kind) -> JSONItem {
    if case .bool = kind, key == "true" || key == "false" { return .bool(key == "true") }
    return .string(key)
  }

  // MARK: Problems

  mutating func reject(_ problem: String, at step: JSONPathStep? = nil) throws(Fault) {
    let place = JSONPathStep.text(step.map { path + [$0] } ?? path)
    violations.append(.init(field: place.displayable, description: problem))
    if violations.count >= limits.maxViolations { throw fault() }
  }

  private mutating func reject(unknown name: String, in schema: MessageSchema) throws(Fault) {
    let shown = name.count > 80 ? String(name.prefix(80)) + "…" : name
    let names = schema.fields.map(\.jsonName)
    let hint = NearestWord.hint(for: name, in: names, quote: "\"")
    let known = names.isEmpty ? "it has none" : "known: \(names.joined(separator: ", "))"
    try reject("is not a field of \(schema.fullName)\(hint.isEmpty ? "; \(known)" : hint)", at: .field(shown))
  }

  private func fault() -> Fault {
    // The order of an object's members is Foundation's; the list is sorted so that it is always the same.
    let sorted = violations.sorted { ($0.field, $0.description) < ($1.field, $1.description) }
    let first = sorted.prefix(3).map { $0.field.isEmpty ? $0.description : "\($0.field) \($0.description)" }
    let rest = sorted.count > 3 ? "; and \(sorted.count - 3) more" : ""
    return Fault(
      reason, "this is not a valid \(root.fullName): " + first.joined(separator: "; ") + rest,
      metadata: ["message": root.fullName], violations: sorted)
  }
}
