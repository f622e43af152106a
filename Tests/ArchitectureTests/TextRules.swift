import Foundation

/// Rules on the text of one Swift file. Each returns what it found; each has a bad sample in
/// `TextRuleTests` that it must refuse.
enum TextRules {
  /// Lines past which a file is more than one thing; generated code is exempt.
  static let maximumLines = 600

  static func all(_ file: SwiftSource) -> [Violation] {
    traps(file) + handMadeSendable(file) + leftovers(file) + size(file) + names(file) + fileSystemCalls(file)
  }

  /// No trap is reachable from bytes that we did not write. `try!` and `as!` never; a force unwrap,
  /// `fatalError` or `preconditionFailure` says in a comment beside or above it why it cannot be
  /// reached. `baseAddress!` passes: buffers of checked, non-zero length are everywhere at the C edge.
  /// A file of C callbacks may explain all of its unwraps at once, in a comment that begins
  /// `Force unwraps here:`.
  static func traps(_ file: SwiftSource) -> [Violation] {
    let explainsUnwraps = file.lines.contains { $0.contains("// Force unwraps here:") }
    return eachLine(of: file) { index, line in
      let words = CodeWord.all(in: line)
      if words.contains(where: { $0.text == "try" && $0.after == "!" }) {
        return "`try!` traps on an error; handle it or let it through"
      }
      if words.contains(where: { $0.text == "as" && $0.after == "!" }) {
        return "`as!` traps; use `as?` and handle nil"
      }
      if !file.commentAbove(index).isEmpty || !file.trailingComment(index).isEmpty { return nil }
      if words.contains(where: { traps.contains($0.text) && $0.after == "(" }) {
        return
          "a deliberate trap needs a comment directly above it: whose fault it is and why nothing else can do"
      }
      if !explainsUnwraps, unwraps(line.replacing("baseAddress!", with: "baseAddress")) {
        return "a force unwrap needs a comment directly above it: why it cannot be nil"
      }
      return nil
    }
  }

  private static let traps: Set<String> = ["fatalError", "preconditionFailure"]

  /// A `!` after a name or a closing bracket, and not of `!=`.
  private static func unwraps(_ line: String) -> Bool {
    let bytes = Array(line.utf8) + [UInt8(ascii: " "), UInt8(ascii: " ")]
    return bytes.indices.dropFirst().dropLast(2).contains { at in
      guard bytes[at] == UInt8(ascii: "!") else { return false }
      let before = Character(Unicode.Scalar(bytes[at - 1]))
      let isOperator = bytes[at + 1] == UInt8(ascii: "=") && bytes[at + 2] != UInt8(ascii: "=")
      return (before.isLetter || before.isNumber || "_)]".contains(before)) && !isOperator
    }
  }

  /// What the compiler cannot prove, a comment must: which lock, loop or rule makes it safe. One
  /// comment may stand above a group of `nonisolated(unsafe)` properties.
  static func handMadeSendable(_ file: SwiftSource) -> [Violation] {
    eachLine(of: file) { index, line in
      let words = CodeWord.all(in: line)
      let isByHand = words.contains {
        ($0.text == "unchecked" && $0.before == "@")
          || ($0.text == "unsafe" && $0.before == "(" && $0.after == ")")
      }
      guard isByHand else { return nil }
      let group = file.code[..<index].reversed().prefix { $0.contains("nonisolated(unsafe)") }.count
      let why = (file.commentAbove(index - group) + file.trailingComment(index)).lowercased()
      if sendableReasons.contains(where: why.contains) { return nil }
      return "needs a comment directly above it that names the lock, loop or rule which makes it safe"
    }
  }

  private static let sendableReasons = [
    "lock", "mutex", "flusher", "loop", "thread", "executor", "atomic", "immutable", "read-only",
    "never change",
    "written only",
    "written once", "set once", "confined", "queue",
  ]

  static func leftovers(_ file: SwiftSource) -> [Violation] {
    file.lines.enumerated().compactMap { index, line in
      guard CodeWord.all(in: line).contains(where: { marks.contains($0.text) }) else { return nil }
      return Violation(
        place: "\(file.path):\(index + 1)", message: "finish it, or file an issue and delete the mark")
    }
  }

  /// Each in two pieces, so that this file does not contain what it looks for.
  private static let marks: Set<String> = ["TO" + "DO", "FIX" + "ME", "XX" + "X"]

  static func size(_ file: SwiftSource) -> [Violation] {
    guard file.lines.count > maximumLines, !file.path.contains("/Generated/") else { return [] }
    return [
      Violation(
        place: file.path, message: "\(file.lines.count) lines; past \(maximumLines) it is more than one thing"
      )
    ]
  }

  /// No "utils", "legacy", "v2": a name says what a thing is, and a better one replaces the old in place.
  static func names(_ file: SwiftSource) -> [Violation] {
    var found: [Violation] = []
    if isVague(file.fileName.split(separator: ".").first.map(String.init) ?? "") {
      found.append(Violation(place: file.path, message: "a file name says what is in it"))
    }
    for (index, line) in file.code.enumerated() {
      for word in CodeWord.all(in: line) where typeKeywords.contains(word.previous) && isVague(word.text) {
        found.append(
          Violation(
            place: "\(file.path):\(index + 1)", message: "`\(word.text)`: a type's name says what it is"))
      }
    }
    return found
  }

  private static let typeKeywords: Set<String> = [
    "struct", "class", "enum", "actor", "protocol", "typealias",
  ]

  /// Whether one of the words of a camel-case or snake-case name says nothing.
  private static func isVague(_ name: String) -> Bool {
    var words: [String] = [""]
    for character in name {
      if character.isUppercase || "_-+".contains(character) { words.append("") }
      words[words.count - 1] += character.lowercased()
    }
    return words.contains { vagueWords.contains($0.trimmingCharacters(in: .punctuationCharacters)) }
  }

  private static let vagueWords: Set<String> = [
    "util", "utils", "utility", "utilities", "legacy", "misc", "v2", "ng",
  ]

  /// File system calls stand in DiskIO alone, where the simulator can take their place. Checked in
  /// files that can see them (Glibc or Foundation); programs may read their configuration and keys.
  static func fileSystemCalls(_ file: SwiftSource) -> [Violation] {
    guard !ModuleTable.fileSystemCallers.contains(file.module) else { return [] }
    let seen = Set(file.imports.map(\.module))
    guard !seen.isDisjoint(with: ["Glibc", "Musl", "Foundation", "FoundationEssentials"]) else { return [] }
    let mayUseFoundation = ModuleTable.configurationReaders.contains(file.module)
    return eachLine(of: file) { _, line in
      let words = CodeWord.all(in: line)
      if words.contains(where: isSystemCall) { return "file system calls belong to DiskIO" }
      if !mayUseFoundation, words.contains(where: { foundationFiles.contains($0.text) }) {
        return "files are read and written through the Disk seam"
      }
      return nil
    }
  }

  /// A bare call (not a method of something, not a declaration), or one through `Glibc.`.
  private static func isSystemCall(_ word: CodeWord) -> Bool {
    guard word.after == "(", systemCalls.contains(word.text), word.previous != "func" else { return false }
    return word.before != "." || word.previous == "Glibc"
  }

  private static let foundationFiles: Set<String> = ["FileManager", "FileHandle", "contentsOfFile"]

  private static let systemCalls: Set<String> = [
    "open", "openat", "creat", "pread", "pwrite", "preadv", "pwritev", "fsync", "fdatasync",
    "sync_file_range",
    "ftruncate", "fallocate", "posix_fallocate", "rename", "renameat", "unlink", "unlinkat", "mkdir",
    "mkdirat",
    "rmdir", "opendir", "fopen", "symlink", "flock",
  ]

  private static func eachLine(of file: SwiftSource, _ rule: (Int, String) -> String?) -> [Violation] {
    file.code.enumerated().compactMap { index, line in
      rule(index, line).map { Violation(place: "\(file.path):\(index + 1)", message: $0) }
    }
  }
}
