import ArgumentParser
import Foundation
import PluginConformance
import PluginPackage
import SkeinCore

struct PluginTestCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "test", abstract: "Try a plug-in against everything that it promises, without a broker.",
    discussion: """
      FILE is a .so with its manifest beside it (NAME.manifest.json, NAME.json or
      manifest.json), or a .skeinplug. Each check runs in a fresh child process with
      a time limit. The checks, and the schema of the report:
      Docs/plugins/conformance.md. Nothing here is a barrier against malice: test
      what you would also run.

      Exit code: 0 when no check failed, 1 when one did.
      """)
  @Argument(help: "The .so or .skeinplug.", completion: .file()) var file: String?
  @Flag(help: "List the checks and end.") var list = false
  @Option(help: "Only this check, or this group of checks (binary, load, …); may be repeated.") var only:
    [String] = []
  @Option(help: "How long each fuzz check runs, in seconds.") var fuzzSeconds = 2.0
  @Option(help: "Of the random inputs; a failure is repeated with the seed that its report names.") var seed:
    UInt64 = 1
  @Option(help: "The instance's configuration, as JSON (default: the least that fits the manifest's schema).")
  var config: String?
  @Option(help: "Authenticators: MECHANISM:MESSAGE that must be let in.") var credential: String?
  @Option(help: "The most that one check may take, in seconds (default: what each check says).")
  var timeoutSeconds: Double?
  @Option(help: "Write the JSON report to this file; - is stdout.", completion: .file()) var report: String?
  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard list || file != nil else { throw ValidationError("Give the FILE to test, or --list.") }
    guard (0...86_400).contains(fuzzSeconds) else { throw ValidationError("--fuzz-seconds: 0 to 86400.") }
    guard timeoutSeconds.map({ (0.1...86_400).contains($0) }) ?? true else {
      throw ValidationError("--timeout-seconds: 0.1 to 86400.")
    }
    let names = Set(CheckCatalogue.all.map(\.name))
    let groups = Set(names.map { String($0.prefix { $0 != "." }) })
    for name in only where !names.contains(name) && !groups.contains(name) {
      let hint = NearestWord.hint(for: name, in: (names.union(groups)).sorted())
      throw ValidationError("--only \(name.displayable): no such check; --list shows them\(hint)")
    }
  }

  func run() throws {
    if list { return try showList() }
    var options = ConformanceRun.Options()
    options.only = Set(only)
    options.fuzzSeconds = fuzzSeconds
    options.seed = seed
    options.config = config
    options.timeout = timeoutSeconds
    options.credential = try credential.map(Self.credential)
    let tested: TestedFile
    do {
      tested = try TestedFile(path: file ?? "")
    } catch let unusable as TestedFile.Unusable {
      throw LocalFailure(unusable.description)
    }
    let isTable = output.output == .table && report != "-"
    if isTable {
      Console.note("\(tested.manifest.reference)  sha256 \(tested.sha256.prefix(16))…  seed \(seed)")
    }
    let result = try ConformanceRun(tested, options).run { row in
      if isTable { try? Console.print(Self.line(row)) }
    }
    let bytes = try result.json()
    if report == "-" || output.output == .json {
      try Console.write(bytes, to: STDOUT_FILENO)
    }
    if let report, report != "-" { try Data(bytes).write(to: URL(fileURLWithPath: report)) }
    if isTable {
      try Console.print("\(result.passed) passed, \(result.failed) failed, \(result.skipped) skipped")
    }
    if result.failed > 0 { throw ExitCode(Failure.failed) }
  }

  private static func credential(_ text: String) throws -> CheckRequest.Credential {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty else {
      throw UsageError("--credential: give MECHANISM:MESSAGE, e.g. bearer:skt_…")
    }
    return CheckRequest.Credential(mechanism: String(parts[0]), message: Data(parts[1].utf8))
  }

  private static func line(_ row: ConformanceReport.Row) -> String {
    let mark = [Finding.Result.passed: "ok    ", .failed: "FAILED", .skipped: "-     "][row.result] ?? ""
    let name = row.name.padding(toLength: 24, withPad: " ", startingAt: 0)
    switch row.result {
    case .passed:
      let figures = row.measured.sorted { $0.key < $1.key }.map { "\($0.key) \(figure($0.value))" }
      return "\(mark)  \(name)  \(figures.joined(separator: ", "))"
    case .failed:
      let cause = Failure.escaped(row.cause ?? "")
      return
        "\(mark)  \(name)  \(cause).\n\(String(repeating: " ", count: 34))Cure: \(Failure.escaped(row.cure ?? ""))."
    case .skipped: return "\(mark)  \(name)  not tried: \(Failure.escaped(row.cause ?? ""))"
    }
  }

  private static func figure(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(format: "%.2f", value)
  }

  private func showList() throws {
    var table = Table(["CHECK", "KINDS", "PROMISE"])
    for check in CheckCatalogue.all {
      let kinds = check.kinds.isEmpty ? "all" : check.kinds.map(\.word).sorted().joined(separator: ", ")
      table.add([check.name, kinds, check.promise])
    }
    let json = JSON.array(
      CheckCatalogue.all.map {
        .object([
          ("name", .string($0.name)), ("promise", .string($0.promise)),
          ("after", .array($0.after.map { .string($0) })),
        ])
      })
    try output.show(json, names: CheckCatalogue.all.map(\.name)) { table.text }
  }
}
