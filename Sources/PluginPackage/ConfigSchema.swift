package import SkeinCore

/// What configurations of a plug-in must look like: a subset of JSON Schema (Docs/formats/plugin-package.md lists it).
///
/// Members that the schema does not name are always refused, so a slip of the pen is an error and not a default. A
/// string with `"format": "secret"` may also be given as {"secret_file": "PATH"}. A plain value; any thread.
package struct ConfigSchema: Sendable, Hashable {
  package static let mostConfigBytes = 64 << 10
  /// Of a configuration that the broker makes itself, a table of tokens.
  package static let mostTableBytes = 1 << 20
  static let mostNesting = 8
  static let mostMembers = 200

  /// One place of the schema.
  indirect enum Rule: Sendable, Hashable {
    case object(members: [String: Rule], required: [String])
    case array(of: Rule, count: ClosedRange<Int64>)
    case string(length: ClosedRange<Int64>, isSecret: Bool)
    case integer(least: Double?, most: Double?)
    case number(least: Double?, most: Double?)
    case bool
    case oneOf([JSONValue])
  }

  let root: Rule

  /// - Throws: `PLUGIN_REFUSED` (check: manifest), with a violation `config_schema.…` for each problem.
  package init(parsing text: String) throws(Fault) {
    var builder = SchemaBuilder()
    do throws(JSONProblem) {
      root = builder.rule(try JSONText.object(Array(text.utf8)), path: "config_schema", depth: 1)
    } catch {
      builder.problem("config_schema", error.text.displayable)
      root = .bool
    }
    if builder.problems.isEmpty, case .object = root { return }
    if builder.problems.isEmpty {
      builder.problem("config_schema.type", "must be \"object\": a configuration is one JSON object")
    }
    throw Manifest.refused(
      builder.problems.map { "\($0.field) \($0.description)" }.joined(separator: "; "),
      violations: builder.problems)
  }

  /// Checks a configuration; empty text counts as `{}`.
  /// - Throws: `PLUGIN_CONFIG_INVALID`, with a violation `config.…` for each problem.
  package func check(_ json: [UInt8], mostBytes: Int = mostConfigBytes) throws(Fault) {
    var check = ConfigCheck()
    check.value(.object(try Self.members(json, mostBytes)), against: root, path: "config")
    guard check.problems.isEmpty else { throw Self.invalid(check.problems) }
  }

  /// For a plug-in without a schema: takes `{}` alone.
  package static func checkEmpty(_ json: [UInt8]) throws(Fault) {
    guard try members(json).isEmpty else {
      throw invalid([.init(field: "config", description: "must be {}: the plug-in takes no configuration")])
    }
  }

  private static func members(
    _ json: [UInt8], _ mostBytes: Int = mostConfigBytes
  ) throws(Fault) -> [String: JSONValue] {
    guard json.count <= mostBytes else {
      throw invalid([.init(field: "config", description: "has more than \(mostBytes) bytes")])
    }
    do throws(JSONProblem) {
      return json.isEmpty ? [:] : try JSONText.object(json)
    } catch {
      throw invalid([.init(field: "config", description: error.text.displayable)])
    }
  }

  private static func invalid(_ problems: [Fault.FieldViolation]) -> Fault {
    let text = problems.map { "\($0.field) \($0.description)" }.joined(separator: "; ")
    return Fault(
      .pluginConfigInvalid,
      "the plug-in cannot be configured like this: \(text). Correct the configuration; `skein plugin info` shows the schema.",
      violations: problems)
  }
}

/// A configuration against a schema: every problem with its path.
private struct ConfigCheck {
  var problems: [Fault.FieldViolation] = []

  private mutating func problem(_ path: String, _ text: String) {
    guard problems.count < 100 else { return }
    problems.append(.init(field: path, description: text))
  }

  mutating func value(_ value: JSONValue, against rule: ConfigSchema.Rule, path: String) {
    switch (rule, value) {
    case (.object(let rules, let required), .object(let members)):
      object(members, rules, required, path)
    case (.array(let element, let count), .array(let values)):
      if !count.contains(Int64(values.count)) {
        problem(path, "has \(values.count) elements, not \(Self.range(count))")
      }
      for (index, each) in values.enumerated() {
        self.value(each, against: element, path: "\(path)[\(index)]")
      }
    case (.string(let length, _), .string(let text)):
      if !length.contains(Int64(text.unicodeScalars.count)) {
        problem(path, "has \(text.unicodeScalars.count) characters, not \(Self.range(length))")
      }
    case (.string(_, true), .object(let members)):
      guard case .string(let file)? = members["secret_file"], members.count == 1, file.hasPrefix("/") else {
        return problem(path, "must be a string, or {\"secret_file\": \"/absolute/path\"}")
      }
    case (.integer(let least, let most), .integer(let number)):
      bounds(Double(number), least, most, path)
    case (.number(let least, let most), .integer), (.number(let least, let most), .real):
      if let number = value.number { bounds(number, least, most, path) }
    case (.bool, .bool): break
    case (.oneOf(let values), _):
      let known = values.map { String(decoding: $0.text(pretty: false), as: UTF8.self) }
      if !values.contains(value) { problem(path, "must be one of \(known.joined(separator: ", "))") }
    default: problem(path, "is \(value.kind), not \(rule.kind)")
    }
  }

  private mutating func object(
    _ members: [String: JSONValue], _ rules: [String: ConfigSchema.Rule], _ required: [String], _ path: String
  ) {
    for name in required where members[name] == nil { problem("\(path).\(name)", "is missing") }
    for (name, member) in members.sorted(by: { $0.key < $1.key }) {
      if let rule = rules[name] {
        value(member, against: rule, path: "\(path).\(name)")
      } else {
        problem(
          "\(path).\(name.displayable)", "is not known\(NearestWord.hint(for: name, in: rules.keys.sorted()))"
        )
      }
    }
  }

  private mutating func bounds(_ number: Double, _ least: Double?, _ most: Double?, _ path: String) {
    if let least, number < least { problem(path, "is less than \(Self.text(least))") }
    if let most, number > most { problem(path, "is more than \(Self.text(most))") }
  }

  private static func range(_ range: ClosedRange<Int64>) -> String {
    range.upperBound == .max
      ? "at least \(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
  }

  private static func text(_ number: Double) -> String {
    Int64(exactly: number).map { String($0) } ?? String(number)
  }
}

extension ConfigSchema.Rule {
  var kind: String {
    switch self {
    case .object: "an object"
    case .array: "an array"
    case .string: "a string"
    case .integer: "an integer"
    case .number: "a number"
    case .bool: "true or false"
    case .oneOf: "one of its values"
    }
  }
}
