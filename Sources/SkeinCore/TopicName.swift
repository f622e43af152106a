/// The rules for topic names and partition counts, shared by broker, SDK and command line.
public enum TopicName {
  public static let maximumLength = 249

  /// What is wrong with `name` as the name of a user's topic, or nil. ASCII letters, digits, `.`, `_`
  /// and `-`, as in Kafka; names that begin with `__` are the system's.
  public static func problem(_ name: String) -> String? {
    let rule = "use 1 to \(maximumLength) of A-Z a-z 0-9 . _ -"
    if name.isEmpty { return "is empty; \(rule)" }
    if name.utf8.count > maximumLength { return "has \(name.utf8.count) bytes; \(rule)" }
    if name == "." || name == ".." { return "must not be \".\" or \"..\"" }
    if name.hasPrefix("__") { return "begins with \"__\", which is kept for the system" }
    let allowed = name.utf8.allSatisfy {
      switch $0 {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2e, 0x5f, 0x2d: true
      default: false
      }
    }
    return allowed ? nil : "has a character that is not allowed; \(rule)"
  }

  /// Partitions of one topic.
  public static let partitionRange: ClosedRange<Int32> = 1...10_000
}
