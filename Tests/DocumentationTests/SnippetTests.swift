import Foundation
import Testing

/// Every Swift block of the articles is a snippet of this target, word for word, and each snippet is used.
@Suite struct SnippetTests {
  static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  static func files(_ folder: String, _ suffix: String) throws -> [URL] {
    try FileManager.default.contentsOfDirectory(
      at: root.appendingPathComponent(folder), includingPropertiesForKeys: nil
    ).filter { $0.lastPathComponent.hasSuffix(suffix) }.sorted { $0.path < $1.path }
  }

  /// Without the indentation that all lines share, and without empty lines at both ends.
  static func normalised(_ lines: [Substring]) -> String {
    var lines = lines
    while lines.first?.allSatisfy(\.isWhitespace) == true { lines.removeFirst() }
    while lines.last?.allSatisfy(\.isWhitespace) == true { lines.removeLast() }
    let indent =
      lines.filter { !$0.allSatisfy(\.isWhitespace) }.map { $0.prefix { $0 == " " }.count }.min() ?? 0
    return lines.map { String($0.dropFirst(indent)) }.joined(separator: "\n")
  }

  /// Name and text of what stands between the marks of a source.
  static func snippets(_ text: String) -> [(name: String, text: String)] {
    var found: [(String, String)] = []
    var name: String?
    var lines: [Substring] = []
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      let mark = line.trimmingCharacters(in: .whitespaces)
      if mark.hasPrefix("// snippet ") {
        name = String(mark.dropFirst("// snippet ".count))
        lines = []
      } else if mark == "// end", let open = name {
        found.append((open, normalised(lines)))
        name = nil
      } else if name != nil {
        lines.append(line)
      }
    }
    return found
  }

  static func swiftBlocks(_ text: String) -> [String] {
    var found: [String] = []
    var lines: [Substring]?
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line == "```swift" {
        lines = []
      } else if line == "```", let block = lines {
        found.append(normalised(block))
        lines = nil
      } else {
        // An import may stand in a block; snippets share their file's.
        if !line.hasPrefix("import ") { lines?.append(line) }
      }
    }
    return found
  }

  @Test func theArticlesShowWhatIsCompiled() throws {
    var unused: [String: String] = [:]
    for file in try Self.files("Tests/DocumentationTests", "Snippets.swift") {
      for snippet in Self.snippets(try String(contentsOf: file, encoding: .utf8)) {
        unused[snippet.text] = snippet.name
      }
    }
    let known = Set(unused.keys)
    #expect(known.count >= 12)
    var blocks = 0
    let pages = try Self.files("Sources/SkeinClient/SkeinClient.docc", ".md")
    // README's blocks are built and run as they stand, by Tests/newcomer.sh.
    for file in pages {
      for block in Self.swiftBlocks(try String(contentsOf: file, encoding: .utf8)) {
        blocks += 1
        #expect(known.contains(block), "\(file.lastPathComponent): this block is no snippet:\n\(block)")
        unused[block] = nil
      }
    }
    #expect(blocks >= 12)
    #expect(unused.isEmpty, "no article shows \(unused.values.sorted())")
  }

  @Test func theComparisonCanRefuse() {
    let source = "x\n  // snippet a\n    let one = 1\n      .two\n  // end\n"
    #expect(Self.snippets(source).map(\.text) == ["let one = 1\n  .two"])
    #expect(
      Self.swiftBlocks("text\n```swift\nlet one = 1\n  .two\n```\n```sh\nls\n```") == ["let one = 1\n  .two"])
    #expect(Self.swiftBlocks("```swift\nlet one = 2\n```") != Self.snippets(source).map(\.text))
  }
}
