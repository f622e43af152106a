import Foundation
import Testing

/// What the command line promises without a broker: exit codes, contexts, output.
@Suite struct CommandLineTests {
  private static let context = """
    address: "localhost:1"
    ca: tls/ca.pem
    certificate: tls/admin.pem
    key: tls/admin.key
    tenant: default
    """

  @Test func versionAndHelpAreResults() throws {
    let tool = try CommandLineTool()
    defer { tool.remove() }
    let version = try tool.run("--version")
    #expect(version.code == 0 && version.output.hasPrefix("skein ") && version.notes.isEmpty)
    #expect(try tool.run("topic", "create", "--help").code == 0)
  }

  @Test(arguments: [
    ["frobnicate"], ["topic", "create"], ["topic", "list", "--output", "xml"],
    ["topic", "list"], ["topic", "list", "--context", "/nonexistent/context.yaml"],
    ["consume", "t", "--from", "yesterday"], ["consume", "t", "--format", "xml"],
    ["produce", "t", "--compression", "rar"], ["produce", "t", "--header", "novalue"],
    ["produce", "t", "--key-separator", ""], ["bench", "produce", "--topic", "t", "--records", "0"],
    ["topic", "create", "bad name"], ["topic", "records", "delete", "t", "--before", "5"],
    ["context", "use", "nowhere"], ["context", "add", "../x"],
  ])
  func wrongUseIsTwo(_ arguments: [String]) throws {
    let tool = try CommandLineTool()
    defer { tool.remove() }
    let result = try tool.run(list: arguments)
    #expect(result.code == 2, "\(result.notes)")
    #expect(result.output.isEmpty && !result.notes.isEmpty)
  }

  @Test func anUnreachableBrokerIsFour() throws {
    let tool = try CommandLineTool()
    defer { tool.remove() }
    try TestCertificate.write(to: tool.folder.appendingPathComponent("tls"))
    let path = try tool.file("context.yaml", Self.context)
    let result = try tool.run("--context", path, "--output", "json", "topic", "list")
    #expect(result.code == 4, "\(result.notes)")
    #expect(result.output.isEmpty && result.notes.contains("UNREACHABLE"))
    #expect(try tool.run("topic", "list", "--context", path).code == 4)
    #expect(try tool.run("topic", "list", environment: ["SKEIN_CONTEXT": path]).code == 4)
  }

  @Test func contextsAreAddedChosenAndListed() throws {
    let tool = try CommandLineTool()
    defer { tool.remove() }
    let path = try tool.file("context.yaml", Self.context)
    #expect(try tool.run("context", "add", "home", "--from", path).code == 0)
    #expect(
      try tool.run(
        "context", "add", "away", "--address", "a:1", "--ca", "/c", "--certificate", "/d", "--key", "/k"
      ).code == 0)
    #expect(try tool.run("context", "use", "home").code == 0)
    let list = try tool.run("context", "list", "--output", "json")
    #expect(
      list.output
        == #"[{"name":"away","address":"a:1","tenant":null,"current":false},{"name":"home","address":"localhost:1","tenant":"default","current":true}]"#
        + "\n")
    #expect(try tool.run("context", "list").output.contains("*  home"))
  }

  @Test func aContextWithWrongKeysSaysWhichAreAllowed() throws {
    let tool = try CommandLineTool()
    defer { tool.remove() }
    let wrong = try tool.file("wrong.yaml", Self.context + "\nadress: x\n")
    let result = try tool.run("topic", "list", "--context", wrong)
    #expect(result.code == 2 && result.notes.contains("adress") && result.notes.contains("certificate"))
    let empty = try tool.file("empty.yaml", "address: localhost:1\n")
    #expect(try tool.run("topic", "list", "--context", empty).notes.contains("missing ca, certificate, key"))
  }

  @Test func tablesEscapeWhatCouldDriveATerminal() throws {
    let tool = try CommandLineTool()
    defer { tool.remove() }
    let path = try tool.file("context.yaml", #"{address: "a\e[31m", ca: c, certificate: d, key: k}"#)
    #expect(try tool.run("context", "add", "x", "--from", path).code == 0)
    let table = try tool.run("context", "list")
    #expect(!table.output.contains("\u{1b}") && table.output.contains(#"a\u{1b}[31m"#))
    let json = try tool.run("context", "list", "--output", "json")
    #expect(!json.output.contains("\u{1b}") && json.output.contains(#"a\u001b[31m"#))
  }
}
