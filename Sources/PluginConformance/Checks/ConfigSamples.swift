import Foundation

/// Configurations that fit a schema, and such that do not. Reads the schema's JSON loosely: what it does not understand
/// it leaves alone.
enum ConfigSamples {
  struct Bad {
    var json: String
    /// "`hash` is of another type".
    var what: String
    /// Whether no plug-in may take it. Text that is no JSON object never comes from a broker.
    var mustBeRefused: Bool
  }

  /// The least configuration that fits: the required members, with their defaults or first values.
  static func good(schema: String?) -> String {
    guard let object = object(schema) else { return "{}" }
    return text(value(for: object) as? [String: Any] ?? [:])
  }

  /// Broken variants of `good`.
  static func bad(schema: String?, good: String) -> [Bad] {
    var samples = ["", "{", "[]", "null", "{\"a\":", "\u{0}"].map {
      Bad(json: $0, what: "there is no JSON object (\($0.debugDescription))", mustBeRefused: false)
    }
    guard let properties = object(schema)?["properties"] as? [String: Any] else { return samples }
    let base = object(good) ?? [:]
    for (name, value) in properties.sorted(by: { $0.key < $1.key }) {
      guard let property = value as? [String: Any], let type = property["type"] as? String else { continue }
      var broken = base
      broken[name] = type == "object" ? "not an object" : [String: Any]()
      samples.append(Bad(json: text(broken), what: "`\(name)` is of another type", mustBeRefused: true))
    }
    for name in (object(schema)?["required"] as? [String] ?? []).sorted() {
      var broken = base
      broken[name] = nil
      samples.append(Bad(json: text(broken), what: "`\(name)` is missing", mustBeRefused: true))
    }
    return samples
  }

  private static func value(for schema: [String: Any]) -> Any {
    if let value = schema["default"] ?? schema["const"] { return value }
    if let value = (schema["enum"] as? [Any])?.first { return value }
    switch schema["type"] as? String {
    case "string":
      let least = max(1, schema["minLength"] as? Int ?? 1)
      return String(repeating: "a", count: min(least, 1_000))
    case "integer", "number": return schema["minimum"] ?? 1
    case "boolean": return false
    case "array":
      let item = value(for: schema["items"] as? [String: Any] ?? [:])
      return Array(repeating: item, count: min(schema["minItems"] as? Int ?? 0, 100))
    default:
      let properties = schema["properties"] as? [String: Any] ?? [:]
      var object: [String: Any] = [:]
      for name in schema["required"] as? [String] ?? [] {
        object[name] = value(for: properties[name] as? [String: Any] ?? [:])
      }
      return object
    }
  }

  private static func object(_ text: String?) -> [String: Any]? {
    guard let text else { return nil }
    return (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [String: Any]
  }

  private static func text(_ object: [String: Any]) -> String {
    let data = try? JSONSerialization.data(withJSONObject: object, options: [.sortedKeys])
    return data.map { String(decoding: $0, as: UTF8.self) } ?? "{}"
  }
}
