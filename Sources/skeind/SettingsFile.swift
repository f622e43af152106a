import SkeinCore
import Yams

/// The settings file, flattened to dotted keys with their lines, and everything that is wrong with it.
/// swift-configuration ignores unknown keys, so they are found here.
struct SettingsFile {
  let name: String
  private(set) var values: [String: String] = [:]
  /// From 1.
  private(set) var lines: [String: Int] = [:]
  private(set) var problems: [String] = []

  init(name: String, text: String) {
    self.name = name
    do {
      // An empty file, or one of comments, sets nothing.
      guard let root = try compose(yaml: text) else { return }
      guard case .mapping = root else {
        problems.append(
          "\(name):\(root.mark?.line ?? 1): the file must be a mapping of settings, like `listen: 127.0.0.1:7600`; it is \(Self.shape(root))"
        )
        return
      }
      flatten(root, prefix: "")
    } catch {
      problems.append(Self.syntax(error, name))
    }
  }

  private mutating func flatten(_ node: Node, prefix: String) {
    guard case .mapping(let mapping) = node else { return }
    for (keyNode, value) in mapping {
      let line = keyNode.mark?.line ?? 0
      guard case .scalar(let scalar) = keyNode else {
        problems.append("\(name):\(line): a key is \(Self.shape(keyNode)); keys are plain texts")
        continue
      }
      take(prefix + scalar.string, value, line)
    }
  }

  private mutating func take(_ key: String, _ value: Node, _ line: Int) {
    let place = "\(name):\(line): \(key.displayable)"
    let definition = SettingDefinition.all.first { $0.key == key }
    let members = SettingDefinition.all.map(\.key).filter { $0.hasPrefix(key + ".") }
    switch (value, definition) {
    case (.scalar(let text), let definition?):
      if let first = lines[key] {
        // `a.b:` and `a: {b:` are the same key, which YAML itself cannot see.
        problems.append("\(place): is set twice, first in line \(first); remove one")
        return
      }
      values[key] = text.string
      lines[key] = line
      if text.string.isEmpty, !definition.accepts("") {
        // Nothing after the colon: told as such, not as a wrong text.
        problems.append("\(place): has no value; allowed: \(definition.allowed)")
        values[key] = nil
      }
    case (.mapping, nil) where !members.isEmpty: flatten(value, prefix: key + ".")
    case (_, let definition?):
      problems.append(
        "\(place): is \(Self.shape(value)) where one value belongs; allowed: \(definition.allowed)")
    case (_, nil) where !members.isEmpty:
      problems.append("\(place): is a group, not a setting; it has \(members.joined(separator: ", "))")
    default:
      problems.append("\(place): unknown setting\(Self.suggestion(key))")
    }
  }

  /// The nearest setting, or where the list of all stands.
  static func suggestion(_ key: String) -> String {
    let known = SettingDefinition.all.map(\.key)
    let hint = NearestWord.hint(for: key, in: known)
    return hint.isEmpty ? "; known: " + known.joined(separator: ", ") : hint
  }

  private static func shape(_ node: Node) -> String {
    switch node {
    case .scalar: "a single value"
    case .mapping: "a mapping"
    case .sequence: "a list"
    case .alias: "an alias"
    }
  }

  // MARK: YAML's own errors

  /// `FILE:LINE:COLUMN: what`, without the copy of the line that Yams adds: it may hold anything.
  private static func syntax(_ error: any Error, _ name: String) -> String {
    guard let error = error as? YamlError else { return "\(name): not valid YAML: \("\(error)".displayable)" }
    switch error {
    case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
      .composer(let context, let problem, let mark, _):
      let begun = context.map { " (\($0.text) in line \($0.mark.line))" } ?? ""
      return "\(name):\(mark.line):\(mark.column): not valid YAML: \(problem)\(begun)"
    case .duplicatedKeysInMapping(let keys, let context):
      return
        "\(name):\(context.mark.line): \(keys.map(\.displayable).joined(separator: ", ")): set twice in one mapping; remove one"
    case .reader(let problem, _, _, _):
      return "\(name): not valid YAML: \(problem); write it in UTF-8 without control characters"
    default: return "\(name): not valid YAML: \("\(error)".displayable)"
    }
  }
}
