import Testing

/// Style that matters is a test; each rule is shown a bad sample and a good one.
@Suite struct TextRuleTests {
  @Test func sourcesKeepTheRules() throws {
    let found = try Repository.swiftFiles(in: "Sources").flatMap(TextRules.all)
    #expect(found.isEmpty, "\(violationList(found))")
  }

  @Test func testsKeepTheRulesThatApplyToThem() throws {
    let found = try Repository.swiftFiles(in: "Tests").flatMap {
      TextRules.leftovers($0) + TextRules.size($0) + TextRules.names($0)
    }
    #expect(found.isEmpty, "\(violationList(found))")
  }

  @Test func handWrittenCKeepsTheRulesThatApplyToIt() throws {
    let found = try Repository.files(in: "Sources", extensions: ["c", "h"])
      .filter { !$0.hasPrefix("Sources/CSkeinProto/") && !$0.hasPrefix("Sources/CSkeinPluginProto/") }
      .map { SwiftSource(path: $0, text: try Repository.text($0)) }
      .flatMap { TextRules.leftovers($0) + TextRules.size($0) }
    #expect(found.isEmpty, "\(violationList(found))")
  }

  // MARK: Bad samples, good samples

  @Test(arguments: [
    "let x = try! decode(bytes)",
    "let y = value as! Batch",
    "let z = table[key]!",
    "use(first!, second)",
    "let s = \"\\(name!)\"",
    "fatalError(\"unreachable\")",
    "preconditionFailure()",
  ])
  func refusesATrap(line: String) {
    #expect(TextRules.traps(sample(line)).count == 1)
  }

  @Test(arguments: [
    "// Never nil: the initialiser set it.\nlet z = table[key]!",
    "let z = table[key]!  // never nil: the initialiser set it",
    "let p = buffer.baseAddress!.advanced(by: 4)",
    "if a != b, !c { }",
    "let s = \"ouch! \"",
    "/// A doc comment with try! in it.",
    "let r = #\"raw \"quoted\" try! \"#",
    "// Our bug: every case above returns.\nfatalError(\"unreachable\")",
  ])
  func acceptsWhatCannotTrap(line: String) {
    #expect(TextRules.traps(sample(line)).isEmpty)
  }

  @Test func refusesSendableWithoutAReason() {
    #expect(TextRules.handMadeSendable(sample("final class A: @unchecked Sendable {}")).count == 1)
    #expect(
      TextRules.handMadeSendable(sample("/// A thing.\nfinal class A: @unchecked Sendable {}")).count == 1)
    #expect(TextRules.handMadeSendable(sample("nonisolated(unsafe) var a = 0")).count == 1)
    #expect(
      TextRules.handMadeSendable(sample("/// Guarded by `lock`.\n\nfinal class A: @unchecked Sendable {}"))
        .count == 1)
    #expect(
      TextRules.handMadeSendable(
        sample("/// Guarded by `lock`.\n@frozen\nfinal class A: @unchecked Sendable {}")
      ).isEmpty)
  }

  @Test func acceptsOneReasonForAGroup() {
    let text = "/// The flusher's.\nnonisolated(unsafe) var a = 0\nnonisolated(unsafe) var b = 0\n\n"
    #expect(TextRules.handMadeSendable(sample(text)).isEmpty)
    #expect(TextRules.handMadeSendable(sample(text + "nonisolated(unsafe) var c = 0")).count == 1)
  }

  @Test func refusesLeftovers() {
    #expect(TextRules.leftovers(sample("// TO" + "DO: later")).count == 1)
    #expect(TextRules.leftovers(sample("/* FIX" + "ME */")).count == 1)
    #expect(TextRules.leftovers(sample("// done\nlet folder = \"/tmp/skein-XX" + "XXXX\"")).isEmpty)
  }

  @Test func refusesALongFile() {
    let long = String(repeating: "let a = 1\n", count: TextRules.maximumLines + 1)
    #expect(TextRules.size(sample(long)).count == 1)
  }

  @Test(arguments: [
    "struct ByteUtils {}", "final class LegacyLog {}", "enum JournalV2 {}", "protocol MiscThings {}",
  ])
  func refusesAVagueType(line: String) {
    #expect(TextRules.names(sample(line)).count == 1)
  }

  @Test func refusesAVagueFileAndAcceptsWords() {
    let vague = SwiftSource(path: "Sources/CommitLog/Utils.swift", text: "")
    #expect(TextRules.names(vague).count == 1)
    #expect(TextRules.names(sample("struct Utilization {}\nstruct Ipv4Address {}\nenum TLSv12 {}")).isEmpty)
  }

  @Test(arguments: [
    "let fd = open(path, O_RDONLY)", "Glibc.pwrite(fd, p, n, 0)",
    "try FileManager.default.removeItem(at: url)",
    "if rename(a, b) != 0 {}",
  ])
  func refusesFileSystemCallsOutsideDiskIO(line: String) {
    let broker = SwiftSource(path: "Sources/Broker/Sample.swift", text: "import Foundation\n" + line)
    let disk = SwiftSource(path: "Sources/DiskIO/Sample.swift", text: "import Glibc\n" + line)
    #expect(TextRules.fileSystemCalls(broker).count == 1)
    #expect(TextRules.fileSystemCalls(disk).isEmpty)
  }

  @Test func acceptsMethodsOfTheSameNames() {
    let text =
      "import Foundation\nlet f = try disk.open(path)\nstatic func open(disk: any Disk) {}\nJournal.open(x)"
    #expect(TextRules.fileSystemCalls(SwiftSource(path: "Sources/Broker/A.swift", text: text)).isEmpty)
  }

  private func sample(_ text: String) -> SwiftSource {
    SwiftSource(path: "Sources/CommitLog/Sample.swift", text: text)
  }
}
