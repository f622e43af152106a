import Foundation

/// One Swift file, with its comments and the text of its literals told apart from its code, so
/// that a rule about code is never triggered by prose. No parser: a scanner of one pass that
/// knows comments (nested), string literals (raw, multi-line, interpolated) and nothing else.
struct SwiftSource {
  /// Path below the repository, e.g. `Sources/CommitLog/Journal/Journal.swift`.
  let path: String
  let lines: [String]
  /// `lines` with comments and literal text blanked; interpolated code stays.
  let code: [String]

  init(path: String, text: String) {
    self.path = path
    var scanner = Scanner(text)
    scanner.scanCode(untilParenthesis: false)
    lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    code = String(decoding: scanner.output, as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  /// The target that the file belongs to: the folder below Sources or Tests.
  var module: String {
    let parts = path.split(separator: "/")
    return parts.count > 1 ? String(parts[1]) : ""
  }

  var fileName: String { String(path.split(separator: "/").last ?? "") }

  /// Names of the imported modules with their line numbers (from 1).
  var imports: [(module: String, line: Int)] {
    code.enumerated().compactMap { index, line in
      let words = CodeWord.all(in: line)
      guard let at = words.firstIndex(where: { $0.text == "import" }) else { return nil }
      let isImport = words[..<at].allSatisfy { $0.before == "@" || Self.importLevels.contains($0.text) }
      guard isImport else { return nil }
      let module = words[(at + 1)...].first { !Self.importKinds.contains($0.text) }
      return module.map { ($0.text, index + 1) }
    }
  }

  private static let importLevels: Set<String> = ["public", "package", "internal", "fileprivate", "private"]
  private static let importKinds: Set<String> = [
    "struct", "class", "enum", "protocol", "func", "var", "let", "typealias",
  ]

  /// The comment directly above line `index` (from 0): attributes and blank doc lines are passed
  /// over, an empty line ends it. Empty when there is none.
  func commentAbove(_ index: Int) -> String {
    var comment: [String] = []
    var at = index - 1
    while at >= 0 {
      let line = lines[at].trimmingCharacters(in: .whitespaces)
      if line.hasPrefix("//") {
        comment.append(line)
      } else if !(comment.isEmpty && line.hasPrefix("@")) {
        break
      }
      at -= 1
    }
    return comment.reversed().joined(separator: "\n")
  }

  /// What follows `//` on line `index` itself.
  func trailingComment(_ index: Int) -> String {
    let blanked = code[index]
    let whole = lines[index]
    guard whole.contains("//"), blanked.utf8.count == whole.utf8.count else { return "" }
    let kept = blanked.reversed().drop { $0 == " " }.count
    return String(whole.dropFirst(kept))
  }
}

/// One identifier or keyword of a line of code, with the characters around it: enough to tell a
/// call from a method call and an unwrap from a negation, without a parser.
struct CodeWord {
  let text: String
  /// The word before it in the line, if only spaces or one `.` lie between.
  let previous: String
  /// The character directly before and after it; a space at the ends of the line.
  let before: Character
  let after: Character

  /// By hand, byte by byte: `Regex` is too slow here in a debug build, and its `\b` takes
  /// `FileManager.default` for one word.
  static func all(in line: String) -> [CodeWord] {
    let bytes = Array(line.utf8)
    var found: [CodeWord] = []
    var at = 0
    var previousEnd = 0
    while at < bytes.count {
      guard isWordByte(bytes[at]) else {
        at += 1
        continue
      }
      let start = at
      while at < bytes.count, isWordByte(bytes[at]) { at += 1 }
      let between = bytes[previousEnd..<start]
      let isNext =
        between.allSatisfy { $0 == UInt8(ascii: " ") } || between.elementsEqual([UInt8(ascii: ".")])
      found.append(
        CodeWord(
          text: String(decoding: bytes[start..<at], as: UTF8.self),
          previous: isNext ? found.last?.text ?? "" : "",
          before: start == 0 ? " " : Character(Unicode.Scalar(bytes[start - 1])),
          after: at == bytes.count ? " " : Character(Unicode.Scalar(bytes[at]))))
      previousEnd = at
    }
    return found
  }

  private static func isWordByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...:
      true
    default: false
    }
  }
}

/// Replaces comments and literal text by spaces, byte for byte, keeping line ends.
private struct Scanner {
  /// Bytes that may begin something other than code; all others are copied at once.
  private static let special: Set<UInt8> = Set("/#\"()".utf8)

  private let input: [UInt8]
  private var at = 0
  private(set) var output: [UInt8] = []

  init(_ text: String) {
    input = Array(text.utf8)
    output.reserveCapacity(input.count)
  }

  /// Copies code; with `untilParenthesis`, up to the one that closes an interpolation.
  mutating func scanCode(untilParenthesis: Bool) {
    var depth = 0
    while at < input.count {
      if !Self.special.contains(input[at]) {
        keep()
      } else if starts("//") {
        while at < input.count, input[at] != UInt8(ascii: "\n") { blank() }
      } else if starts("/*") {
        scanBlockComment()
      } else if let hashes = literalStart() {
        scanLiteral(hashes: hashes)
      } else {
        if untilParenthesis {
          if input[at] == UInt8(ascii: "(") { depth += 1 }
          if input[at] == UInt8(ascii: ")") {
            if depth == 0 { return }
            depth -= 1
          }
        }
        keep()
      }
    }
  }

  private mutating func scanBlockComment() {
    var depth = 0
    repeat {
      if starts("/*") {
        depth += 1
        blank(2)
      } else if starts("*/") {
        depth -= 1
        blank(2)
      } else {
        blank()
      }
    } while depth > 0 && at < input.count
  }

  /// The number of `#` before a quotation mark that begins here, or nil.
  private func literalStart() -> Int? {
    var end = at
    while end < input.count, input[end] == UInt8(ascii: "#") { end += 1 }
    return end < input.count && input[end] == UInt8(ascii: "\"") ? end - at : nil
  }

  private mutating func scanLiteral(hashes: Int) {
    let raw = String(repeating: "#", count: hashes)
    let isMultiline = starts(raw + "\"\"\"")
    let quote = isMultiline ? "\"\"\"" : "\""
    keep(hashes + quote.utf8.count)
    while at < input.count {
      if starts(quote + raw) {
        keep(quote.utf8.count + hashes)
        return
      }
      if starts("\\" + raw + "(") {
        blank(1 + hashes)
        keep()
        scanCode(untilParenthesis: true)
        if at < input.count { keep() }
      } else if starts("\\" + raw) {
        blank(2 + hashes)
      } else if input[at] == UInt8(ascii: "\n"), !isMultiline {
        return  // not a literal after all: a quotation mark inside a regular expression
      } else {
        blank()
      }
    }
  }

  private func starts(_ text: String) -> Bool {
    input[at...].starts(with: text.utf8)
  }

  private mutating func keep(_ count: Int = 1) {
    for _ in 0..<count where at < input.count {
      output.append(input[at])
      at += 1
    }
  }

  private mutating func blank(_ count: Int = 1) {
    for _ in 0..<count where at < input.count {
      output.append(input[at] == UInt8(ascii: "\n") ? input[at] : UInt8(ascii: " "))
      at += 1
    }
  }
}
