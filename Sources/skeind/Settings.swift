import Configuration
import SkeinCore

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
    let read = file.map { SettingsFile(name: $0.name, text: $0.text) }
    var problems = read?.problems ?? []
    let known = Set(SettingDefinition.all.map(\.key))
    for key in flags.keys.sorted() where !known.contains(key) {
      problems.append("--set \(key.displayable): unknown setting\(SettingsFile.suggestion(key))")
    }

    let sources: [(String, ConfigReader)] = [
      ("flag", Self.reader(flags)),
      (
        "environment",
        ConfigReader(provider: EnvironmentVariablesProvider(environmentVariables: environment)).scoped(
          to: "skein")
      ),
      ("file", Self.reader(read?.values ?? [:])),
      ("--dev", Self.reader(standards)),
    ]
    for definition in SettingDefinition.all {
      var found: Value?
      for (name, reader) in sources {
        guard let text = reader.string(forKey: ConfigKey(definition.key)) else { continue }
        let source =
          name == "file" ? "\(file?.name ?? ""):\(read?.lines[definition.key] ?? 0)" : name
        found = Value(text: text, source: source)
        break
      }
      guard let value = found ?? definition.standard.map({ Value(text: $0, source: "default") }) else {
        // A line of the file that was refused for its shape says all there is to say.
        guard !problems.contains(where: { $0.contains(": \(definition.key): ") }) else { continue }
        problems.append(
          "\(definition.key): must be set (\(definition.meaning)); use --config, --set, the environment, or --dev DIR"
        )
        continue
      }
      guard definition.accepts(value.text) else {
        problems.append(
          "\(value.source): \(definition.key): \"\(value.text.displayable)\" is not valid; allowed: \(definition.allowed)\(definition.hint(for: value.text))"
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
}
