import Glibc

/// Patterns as in a shell: `*`, `?`, `[a-z]`.
enum Glob {
  static func matches(_ text: String, _ pattern: String) -> Bool { fnmatch(pattern, text, 0) == 0 }

  /// What every match begins with.
  static func literalPrefix(_ pattern: String) -> String { String(pattern.prefix { !"*?[\\".contains($0) }) }
}
