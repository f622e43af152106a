import SkeinCore

/// Makes rules from the text of a schema, and notes what is not of the subset.
struct SchemaBuilder {
  private(set) var problems: [Fault.FieldViolation] = []
  private var members = 0

  mutating func problem(_ path: String, _ text: String) {
    problems.append(.init(field: path, description: text))
  }

  mutating func rule(
    _ schema: [String: JSONValue], path: String, depth: Int
  ) -> ConfigSchema.Rule {
    members += 1
    guard depth <= ConfigSchema.mostNesting, members <= ConfigSchema.mostMembers else {
      problem(
        path,
        "is too deep or too much: at most \(ConfigSchema.mostNesting) levels and \(ConfigSchema.mostMembers) schemas"
      )
      return .bool
    }
    var fields = JSONMembers(schema, path: path + ".")
    // For people; not looked at.
    for name in ["title", "description", "default", "examples", "$schema"] { _ = fields.value(name) }
    defer {
      fields.refuseUnknown()
      problems += fields.problems
    }
    if let values = fields.value("enum") {
      guard case .array(let values) = values, (1...100).contains(values.count) else {
        fields.problem("enum", "must be an array of 1 to 100 values")
        return .bool
      }
      _ = fields.value("type")
      return .oneOf(values)
    }
    let kind = fields.text("type", length: 1...20)
    switch kind {
    case "object": return object(&fields, path, depth)
    case "array": return array(&fields, path, depth)
    case "string": return string(&fields)
    case "integer", "number":
      let least = bound("minimum", &fields)
      let most = bound("maximum", &fields)
      if let least, let most, least > most { fields.problem("minimum", "is more than maximum") }
      return kind == "integer" ? .integer(least: least, most: most) : .number(least: least, most: most)
    case "boolean": return .bool
    default:
      let known = ["object", "array", "string", "integer", "number", "boolean"]
      if !kind.isEmpty {
        fields.problem(
          "type",
          "\"\(kind.displayable)\" is not known; known: \(known.joined(separator: ", "))\(NearestWord.hint(for: kind, in: known))"
        )
      }
      return .bool
    }
  }

  private mutating func object(
    _ fields: inout JSONMembers, _ path: String, _ depth: Int
  ) -> ConfigSchema.Rule {
    if let more = fields.value("additionalProperties"), more != .bool(false) {
      fields.problem("additionalProperties", "must be false or left out: unknown members are always refused")
    }
    var rules: [String: ConfigSchema.Rule] = [:]
    for (name, value) in (fields.object("properties", isRequired: false) ?? [:]).sorted(by: {
      $0.key < $1.key
    }) {
      let place = "\(path).properties.\(name.displayable)"
      guard case .object(let schema) = value, !name.isEmpty, name.utf8.count <= 64 else {
        problem(place, "must be a schema, under a name of 1 to 64 bytes")
        continue
      }
      rules[name] = rule(schema, path: place, depth: depth + 1)
    }
    let required = fields.texts("required", count: 0...ConfigSchema.mostMembers, length: 1...64)
    for name in required where rules[name] == nil {
      fields.problem("required", "names \"\(name.displayable)\", which is not among properties")
    }
    return .object(members: rules, required: required)
  }

  private mutating func array(
    _ fields: inout JSONMembers, _ path: String, _ depth: Int
  ) -> ConfigSchema.Rule {
    let count = range("minItems", "maxItems", &fields)
    guard let items = fields.object("items", isRequired: true) else { return .bool }
    return .array(of: rule(items, path: path + ".items", depth: depth + 1), count: count)
  }

  private func string(_ fields: inout JSONMembers) -> ConfigSchema.Rule {
    let length = range("minLength", "maxLength", &fields)
    let format = fields.value("format")
    if let format, format != .string("secret") {
      fields.problem("format", "must be \"secret\" or left out")
    }
    return .string(length: length, isSecret: format != nil)
  }

  private func range(_ least: String, _ most: String, _ fields: inout JSONMembers) -> ClosedRange<Int64> {
    let low = fields.integer(least, 0...1_000_000, standard: 0)
    let high = fields.integer(most, 0...1_000_000, standard: .max)
    guard low <= high else {
      fields.problem(least, "is more than \(most)")
      return 0...0
    }
    return low...high
  }

  private func bound(_ name: String, _ fields: inout JSONMembers) -> Double? {
    guard let value = fields.value(name) else { return nil }
    guard let number = value.number else {
      fields.problem(name, "is \(value.kind), not a number")
      return nil
    }
    return number
  }
}
