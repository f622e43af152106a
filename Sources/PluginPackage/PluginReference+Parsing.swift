package import SkeinCore

extension PluginReference {
  /// Characters of an id and of a version.
  package static let idLength = 3...100
  package static let mostVersionCharacters = 40

  /// Text from outside: `ID@VERSION`.
  /// - Throws: `INVALID_REQUEST` saying what is wrong with it.
  package init(parsing text: String) throws(Fault) {
    let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2 else {
      throw Self.invalid(
        "plugin", "\"\(text.displayable)\" is not ID@VERSION; write it as com.acme.sticky@1.2.0")
    }
    try self.init(id: String(parts[0]), version: String(parts[1]))
  }

  /// - Throws: `INVALID_REQUEST` naming the field `id` or `version`.
  package init(id: String, version: String) throws(Fault) {
    if let problem = Self.problem(id: id) { throw Self.invalid("id", problem) }
    if let problem = Self.problem(version: version) { throw Self.invalid("version", problem) }
    self.init(checkedID: id, version: version)
  }

  /// What is wrong with an id, in a sentence; nil: nothing.
  package static func problem(id: String) -> String? {
    let labels = id.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    let isWellFormed =
      idLength.contains(id.utf8.count) && labels.count >= 2
      && labels.allSatisfy { label in
        !label.isEmpty && label.first != UInt8(ascii: "-") && label.last != UInt8(ascii: "-")
          && label.allSatisfy(isIDByte)
      }
    guard !isWellFormed else { return nil }
    return
      "\"\(shown(id))\" is no plug-in id; an id is a reverse domain name of \(idLength.lowerBound) to \(idLength.upperBound) characters a-z 0-9 . - with at least one dot, like com.acme.sticky"
  }

  /// What is wrong with a version, in a sentence; nil: nothing.
  package static func problem(version: String) -> String? {
    if version.utf8.count <= mostVersionCharacters, isSemantic(version) { return nil }
    return
      "\"\(shown(version))\" is no version; it must be MAJOR.MINOR.PATCH with an optional -suffix, at most \(mostVersionCharacters) characters, like 1.2.0"
  }

  private static func isSemantic(_ version: String) -> Bool {
    let parts = version.utf8.split(
      separator: UInt8(ascii: "-"), maxSplits: 1, omittingEmptySubsequences: false)
    let numbers = parts[0].split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    let areNumbers = numbers.allSatisfy { number in
      (1...9).contains(number.count) && number.allSatisfy(isDigit)
        && (number.count == 1 || number.first != UInt8(ascii: "0"))
    }
    guard numbers.count == 3, areNumbers else { return false }
    guard parts.count == 2 else { return true }
    return !parts[1].isEmpty && parts[1].allSatisfy(isIDByte) && parts[1].first != UInt8(ascii: ".")
      && parts[1].last != UInt8(ascii: ".")
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }

  private static func isIDByte(_ byte: UInt8) -> Bool {
    isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || byte == UInt8(ascii: "-")
      || byte == UInt8(ascii: ".")
  }

  private static func shown(_ text: String) -> String {
    (text.utf8.count > 120 ? String(text.prefix(100)) + "…" : text).displayable
  }

  private static func invalid(_ field: String, _ problem: String) -> Fault {
    Fault(.invalidRequest, problem, violations: [.init(field: field, description: problem)])
  }
}
