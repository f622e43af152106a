import Glibc

/// Patterns as in a shell: `*`, `?`, `[a-z]`.
enum Glob {
  static func matches(_ text: String, _ pattern: String) -> Bool { fnmatch(pattern, text, 0) == 0 }
}
