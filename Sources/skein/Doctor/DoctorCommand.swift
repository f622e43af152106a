import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

struct DoctorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract:
      "Look at context, certificates, connection, clock, limits and access: what is wrong, and the cure.",
    discussion: """
      A line a check: ok, warn, fail, or skip where an earlier failure leaves nothing
      to look at. Exit code: 0 when nothing failed, 1 when something did, 2 for the
      context, 3 for access, 4 when no address can be reached.
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Option(help: "Look at this topic as well; repeatable.", completion: .custom(DynamicNames.topics))
  var topic: [String] = []

  func run() async throws {
    var findings = Findings()
    if let context = checkContext(&findings) {
      IdentityChecks(context: context).run(&findings)
      if try await ConnectionChecks(configuration: connection.clientConfiguration()).run(&findings) {
        await BrokerChecks(connection: connection, topics: topic).run(&findings)
      } else {
        findings.add(.skip, "broker", "no address was usable")
      }
    }
    try show(findings)
    if let code = findings.exitCode { throw ExitCode(code) }
  }

  private func checkContext(_ findings: inout Findings) -> ContextFile? {
    let source = connection.context != nil ? "--context" : "SKEIN_CONTEXT, or the chosen one"
    do {
      let file = try connection.resolve()
      findings.add(
        .ok, "context",
        "\(ContextStore().given(connection.context) ?? "") (\(source)), address \(file.address)")
      return file
    } catch {
      findings.add(.fail, "context", "\(error)", cure: "see `skein context --help`", code: Failure.usage)
      return nil
    }
  }

  private func show(_ findings: Findings) throws {
    let json = JSON.object([
      ("ok", .bool(findings.exitCode == nil)), ("checks", .array(findings.all.map(\.json))),
    ])
    let colours = Console.hasColour
    try options.show(json, names: findings.all.filter { $0.level == .fail }.map(\.check)) {
      let width = findings.all.map(\.check.count).max() ?? 0
      let lines = findings.all.map { $0.line(width: width, hasColour: colours) }
      return (lines + [findings.summary]).joined(separator: "\n")
    }
  }
}

/// What the doctor found, in the order of its checks.
struct Findings {
  enum Level: String {
    case ok, warn, fail, skip
    var colour: Int {
      switch self {
      case .ok: 32
      case .warn: 33
      case .fail: 31
      case .skip: 2
      }
    }
  }

  struct Finding {
    let level: Level
    let check: String
    let detail: String
    let cure: String?

    var json: JSON {
      .object([
        ("check", .string(check)), ("level", .string(level.rawValue)), ("detail", .string(detail)),
        ("cure", cure.map { .string($0) } ?? .null),
      ])
    }

    /// One line; what others named is escaped.
    func line(width: Int, hasColour: Bool) -> String {
      let word = level.rawValue.padding(toLength: 4, withPad: " ", startingAt: 0)
      let painted = hasColour ? "\u{1b}[\(level.colour)m\(word)\u{1b}[0m" : word
      let name = check.padding(toLength: width, withPad: " ", startingAt: 0)
      return "\(painted)  \(name)  \(Failure.escaped(detail))"
        + (cure.map { " -> \(Failure.escaped($0))" } ?? "")
    }
  }

  private(set) var all: [Finding] = []
  /// Of the first failure: later ones follow from it.
  private var code: Int32?

  var hasFailed: Bool { all.contains { $0.level == .fail } }
  var exitCode: Int32? { hasFailed ? code : nil }

  /// - Parameter code: the exit code that a failure asks for; the first one counts.
  mutating func add(
    _ level: Level, _ check: String, _ detail: String, cure: String? = nil, code: Int32? = nil
  ) {
    all.append(Finding(level: level, check: check, detail: detail, cure: cure))
    if level == .fail, self.code == nil { self.code = code ?? Failure.failed }
  }

  var summary: String {
    let (failed, warned) = (all.filter { $0.level == .fail }.count, all.filter { $0.level == .warn }.count)
    return failed == 0 && warned == 0 ? "all is well" : "\(failed) failed, \(warned) to look at"
  }
}
