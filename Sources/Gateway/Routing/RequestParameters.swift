import SkeinCore
import Wire

/// What path and query say, as values for fields of the request. A plain value.
///
/// `timeout` and `bytes` are the door's own parameters; no field that stands in a query has those names (a
/// test looks).
struct RequestParameters {
  static let timeoutName = "timeout"
  static let bytesName = "bytes"

  private(set) var timeout: String?
  private(set) var form = BytesForm.base64
  private let schema: MessageSchema
  private let route: Route
  private var assignments: [(name: String, field: [String], values: [String], isConstant: Bool)] = []
  private var violations: [Fault.FieldViolation] = []

  /// - Throws: `PARAMETER_INVALID` with every wrong parameter.
  init(
    _ route: Route, _ path: [(Route.Binding, String)], _ query: [(name: String, value: String)],
    schema: MessageSchema
  ) throws(Fault) {
    self.route = route
    self.schema = schema
    for (binding, value) in path { assignments.append((binding.name, binding.field, [value], false)) }
    var values: [String: [String]] = [:]
    var order: [String] = []
    for (name, value) in query {
      if values[name] == nil { order.append(name) }
      values[name, default: []].append(value)
    }
    for name in order where violations.count < JSONLimits().maxViolations { take(name, values[name] ?? []) }
    for (binding, value) in route.constants.sorted(by: { $0.key.name < $1.key.name }) {
      let isGiven = assignments.contains { $0.field == binding.field }
      if !isGiven { assignments.append((binding.name, binding.field, [value], true)) }
    }
    guard violations.isEmpty else {
      throw Fault(
        .parameterInvalid,
        "wrong parameters: "
          + violations.prefix(3).map { "\($0.field) \($0.description)" }.joined(separator: "; "),
        violations: violations)
    }
  }

  private mutating func take(_ name: String, _ values: [String]) {
    if name == Self.timeoutName || name == Self.bytesName {
      guard values.count == 1 else { return reject(name, "is given \(values.count) times") }
      if name == Self.timeoutName { return timeout = values[0] }
      guard let form = BytesForm(rawValue: values[0]) else {
        return reject(name, "must be base64 or text, not \"\(values[0].displayable)\"")
      }
      return self.form = form
    }
    guard let binding = binding(of: name), let field = field(at: binding.field) else {
      let hint = NearestWord.hint(for: name, in: names, quote: "\"")
      return reject(
        name,
        "is not a parameter of this path\(hint.isEmpty ? "; known: \(names.joined(separator: ", "))" : hint)")
    }
    guard values.count == 1 || field.shape == .repeated else {
      return reject(name, "is given \(values.count) times")
    }
    assignments.append((name, binding.field, values, false))
  }

  /// Parameters that this route takes.
  private var names: [String] {
    let own = route.hasBody ? [] : schema.fields.filter { isFree($0) }.map(\.jsonName)
    return route.query.map(\.name) + own + [Self.bytesName, Self.timeoutName]
  }

  private func binding(of name: String) -> Route.Binding? {
    if let binding = route.query.first(where: {
      $0.name == name || FieldSchema.camelCase($0.field.last ?? "") == name
    }) {
      return binding
    }
    guard !route.hasBody, let field = schema.field(named: name), isFree(field) else { return nil }
    return Route.Binding(Substring(field.name))
  }

  /// A top-level field that can stand in a query and is not bound by path or alias.
  private func isFree(_ field: FieldSchema) -> Bool {
    if case .message(let nested) = field.kind, WellKnownType(nested) != .duration || field.shape == .repeated
    {
      return false
    }
    guard field.shape != .map else { return false }
    return !route.segments.contains { segment in
      if case .variable(let binding) = segment { binding.field.first == field.name } else { false }
    }
  }

  private func field(at path: [String]) -> FieldSchema? {
    var schema = self.schema
    for (index, name) in path.enumerated() {
      guard let field = schema.field(named: name) else { return nil }
      if index == path.count - 1 { return field }
      guard case .message(let nested) = field.kind else { return nil }
      schema = nested
    }
    return nil
  }

  private mutating func reject(_ name: String, _ problem: String) {
    let shown = name.count > 80 ? String(name.prefix(80)) + "…" : name
    violations.append(.init(field: shown.displayable, description: problem))
  }

  // MARK: Into the request

  /// Adds the values to a body. A body may repeat what the path says, but not contradict it.
  /// - Throws: `PARAMETER_INVALID`.
  func assign(to object: inout [String: JSONItem]) throws(Fault) {
    for assignment in assignments {
      try Self.assign(
        assignment.values, assignment.field[...], schema, &object, assignment.name, assignment.isConstant)
    }
  }

  private static func assign(
    _ values: [String], _ path: ArraySlice<String>, _ schema: MessageSchema,
    _ object: inout [String: JSONItem],
    _ name: String, _ isConstant: Bool
  ) throws(Fault) {
    guard let first = path.first, let field = schema.field(named: first) else { return }
    let key = object[field.name] != nil ? field.name : field.jsonName
    guard path.count > 1 else {
      let items = values.map { item($0, field.kind) }
      if let existing = object[key], !existing.isNull {
        if isConstant || Self.text(existing) == values.first { return }
        throw Fault(
          .parameterInvalid,
          "the body says \(name) = \(existing.found), the path \"\((values.first ?? "").displayable)\"",
          violations: [.init(field: name, description: "differs between body and path")])
      }
      return object[key] = field.shape == .repeated ? .array(items) : items.first
    }
    guard case .message(let nested) = field.kind else { return }
    if field.shape == .repeated {
      var elements: [JSONItem] = if case .array(let given)? = object[key] { given } else { [] }
      var element = members(elements.first)
      try assign(values, path.dropFirst(), nested, &element, name, isConstant)
      elements.replaceSubrange(..<min(1, elements.count), with: [.object(element)])
      object[key] = .array(elements)
    } else {
      var inner = members(object[key])
      try assign(values, path.dropFirst(), nested, &inner, name, isConstant)
      object[key] = .object(inner)
    }
  }

  /// The text of a parameter as the JSON value that the mapping expects.
  private static func item(_ text: String, _ kind: FieldSchema.Kind) -> JSONItem {
    switch kind {
    case .bool where text == "true": .bool(true)
    case .bool where text == "false": .bool(false)
    case .enumeration(let schema):
      if let number = Int64(text) { .int(number) } else { .string(schema.fullName(ofValue: text)) }
    default: .string(text)
    }
  }

  private static func members(_ item: JSONItem?) -> [String: JSONItem] {
    if case .object(let members)? = item { members } else { [:] }
  }

  /// A scalar as it would stand in a path.
  private static func text(_ item: JSONItem) -> String {
    if case .string(let text) = item { text } else { item.found }
  }

  /// What the caller calls a field: the parameter's own name where it came from path or query.
  func callersName(_ jsonPath: String) -> String {
    for assignment in assignments {
      var schema = self.schema
      var path = ""
      for name in assignment.field {
        guard let field = schema.field(named: name) else { break }
        path += path.isEmpty ? field.jsonName : ".\(field.jsonName)"
        if case .message(let nested) = field.kind {
          schema = nested
          if field.shape == .repeated { path += "[0]" }
        }
      }
      if path == jsonPath { return assignment.name }
    }
    return jsonPath
  }
}

extension EnumSchema {
  /// `latest` for OFFSET_SPEC_LATEST: in a URL the end of a value's name says enough, if only one ends so.
  fileprivate func fullName(ofValue text: String) -> String {
    let ending = "_" + text.uppercased()
    let matches = names.filter { $0.hasSuffix(ending) }
    return number(named: text) == nil && matches.count == 1 ? matches[0] : text
  }
}
