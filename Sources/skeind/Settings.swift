import Configuration
import SkeinCore
import Yams

/// Settings in force, each with where it came from: flag, environment, file (with its line), or
/// default. All problems are reported at once, each with file, line, key and the allowed values.
struct Settings: Sendable {
  struct Value: Sendable {
    let text: String
    let source: String
  }

  private(set) var values: [String: Value] = [:]

  subscript(_ key: String) -> String { values[key]?.text ?? "" }
  func integer(_ key: String) -> Int64 { Int64(self[key]) ?? 0 }
  func address(_ key: String) -> HostPort? { HostPort(self[key]) }

  /// - Parameters:
  ///   - flags: highest precedence.
  ///   - environment: `SKEIN_…`.
  ///   - file: the text of the settings file and its name.
  ///   - standards: values that stand in for missing defaults (the development folder's).
  init(
    flags: [String: String], environment: [String: String], file: (name: String, text: String)?,
    standards: [String: String]
  ) throws(Fault) {
    var problems: [String] = []
    var lines: [String: Int] = [:]
    var fileValues: [String: String] = [:]
    if let file {
      Self.read(file.text, name: file.name, values: &fileValues, lines: &lines, problems: &problems)
    }
    let known = Set(SettingDefinition.all.map(\.key))
    for key in flags.keys.sorted() where !known.contains(key) {
      problems.append("--set \(key.displayable): unknown setting\(Self.suggestion(key))")
    }

    let sources: [(String, ConfigReader)] = [
      ("flag", Self.reader(flags)),
      (
        "environment",
        ConfigReader(provider: EnvironmentVariablesProvider(environmentVariables: environment)).scoped(
          to: "skein")
      ),
      ("file", Self.reader(fileValues)),
      ("--dev", Self.reader(standards)),
    ]
    for definition in SettingDefinition.all {
      var found: Value?
      for (name, reader) in sources {
        guard let text = reader.string(forKey: ConfigKey(definition.key)) else { continue }
        let source =
          name == "file" ? "\(file?.name ?? ""):\(lines[definition.key] ?? 0)" : name
        found = Value(text: text, source: source)
        break
      }
      guard let value = found ?? definition.standard.map({ Value(text: $0, source: "default") }) else {
        problems.append(
          "\(definition.key): must be set (\(definition.meaning)); use --config, --set, the environment, or --dev DIR"
        )
        continue
      }
      guard definition.accepts(value.text) else {
        problems.append(
          "\(value.source): \(definition.key): \"\(value.text.displayable)\" is not valid; allowed: \(definition.allowed)"
        )
        continue
      }
      values[definition.key] = value
    }
    guard problems.isEmpty else {
      throw Fault(.invalidRequest, problems.joined(separator: "\n"))
    }
  }

  private static func reader(_ values: [String: String]) -> ConfigReader {
    ConfigReader(
      provider: InMemoryProvider(
        values: Dictionary(
          values.map {
            (AbsoluteConfigKey(ConfigKey($0.key)), ConfigValue(.string($0.value), isSecret: false))
          }
        ) { first, _ in first }))
  }

  // MARK: The file

  /// Flattens nested mappings to dotted keys. swift-configuration ignores unknown keys, so they are
  /// found here, with their lines.
  private static func read(
    _ text: String, name: String, values: inout [String: String], lines: inout [String: Int],
    problems: inout [String]
  ) {
    do {
      guard let root = try compose(yaml: text) else { return }
      guard case .mapping = root else {
        problems.append("\(name):1: the file must be a mapping of settings")
        return
      }
      flatten(root, prefix: "", name, &values, &lines, &problems)
    } catch {
      problems.append("\(name): not valid YAML: \(error)")
    }
  }

  private static func flatten(
    _ node: Node, prefix: String, _ name: String, _ values: inout [String: String],
    _ lines: inout [String: Int], _ problems: inout [String]
  ) {
    guard case .mapping(let mapping) = node else { return }
    for (keyNode, value) in mapping {
      let line = keyNode.mark?.line ?? 0
      guard case .scalar(let scalar) = keyNode else {
        problems.append("\(name):\(line): keys must be plain texts")
        continue
      }
      let key = prefix + scalar.string
      switch value {
      case .mapping where SettingDefinition.all.contains { $0.key.hasPrefix(key + ".") }:
        flatten(value, prefix: key + ".", name, &values, &lines, &problems)
      case .scalar(let text) where SettingDefinition.all.contains { $0.key == key }:
        if values.updateValue(text.string, forKey: key) != nil {
          problems.append("\(name):\(line): \(key) is set twice")
        }
        lines[key] = line
      case _ where SettingDefinition.all.contains { $0.key == key || $0.key.hasPrefix(key + ".") }:
        problems.append("\(name):\(line): \(key.displayable) has a value of the wrong shape")
      default:
        problems.append("\(name):\(line): \(key.displayable): unknown setting\(suggestion(key))")
      }
    }
  }

  private static func suggestion(_ key: String) -> String {
    "; known: " + SettingDefinition.all.map(\.key).joined(separator: ", ")
  }
}
