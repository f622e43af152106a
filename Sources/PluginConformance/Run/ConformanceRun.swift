import CSkeinShims
import Foundation
import Glibc
import PluginPackage

/// Runs the checks that fit a file, each in fresh children, and makes the report.
package struct ConformanceRun: Sendable {
  package struct Options: Sendable {
    /// The program that calls `ConformanceChild.enterIfAsked` first; in general this one.
    package var program = "/proc/self/exe"
    /// Only checks with these names, or of these groups ("binary"); empty: all. What they need is run too.
    package var only: Set<String> = []
    package var fuzzSeconds = 2.0
    package var seed: UInt64 = 1
    /// nil: the least that fits the schema.
    package var config: String?
    package var credential: CheckRequest.Credential?
    /// The most that one child may take, whatever the check says; nil: what the check says.
    package var timeout: Double?
    package init() {}
  }

  let file: TestedFile
  let options: Options

  package init(_ file: TestedFile, _ options: Options) {
    self.file = file
    self.options = options
  }

  /// Blocks until all checks are done. `each` hears of each as it ends.
  package func run(each: (ConformanceReport.Row) -> Void = { _ in }) throws -> ConformanceReport {
    let descriptor = file.bytes.withUnsafeBytes {
      skein_conformance_sealed("plugin", $0.baseAddress, $0.count)
    }
    guard descriptor >= 0 else {
      throw TestedFile.Unusable(description: "no memory file for \(file.bytes.count) bytes. Free some memory")
    }
    defer { close(descriptor) }
    let child = ChildProcess(program: options.program, artifact: descriptor)
    let started = Date()
    var rows: [ConformanceReport.Row] = []
    // Failed, or not tried because of one that failed.
    var unusable: Set<String> = []
    for check in selected() {
      let begin = Monotonic.now()
      var finding: Finding
      if let blocked = check.after.first(where: unusable.contains) {
        finding = .skipped("\(blocked) did not pass")
        unusable.insert(check.name)
      } else {
        finding = try run(check, child)
      }
      if finding.result == .failed { unusable.insert(check.name) }
      finding.evidence = [:]
      let row = ConformanceReport.Row(
        check: check, finding: finding, seconds: Double(Monotonic.now() - begin) / 1e9)
      rows.append(row)
      each(row)
    }
    return ConformanceReport(file: file, options: options, started: started, rows: rows)
  }

  /// The checks of the file's kinds, and of `only` with what these need.
  private func selected() -> [Check] {
    let kinds = Set(file.manifest.kinds)
    let fitting = CheckCatalogue.all.filter { $0.kinds.isEmpty || !$0.kinds.isDisjoint(with: kinds) }
    guard !options.only.isEmpty else { return fitting }
    var wanted = Set(
      fitting.map(\.name).filter { name in
        options.only.contains(name) || options.only.contains(String(name.prefix { $0 != "." }))
      })
    for check in fitting.reversed() where wanted.contains(check.name) { wanted.formUnion(check.after) }
    return fitting.filter { wanted.contains($0.name) }
  }

  private func run(_ check: Check, _ child: ChildProcess) throws -> Finding {
    var observations: [Observation] = []
    for process in 0..<check.processes {
      var request = CheckRequest(
        check: check.name, seed: options.seed, fuzzSeconds: options.fuzzSeconds,
        config: options.config ?? ConfigSamples.good(schema: file.manifest.configSchema),
        manifest: Data(file.manifestBytes), credential: options.credential)
      request.process = process
      let limit = min(
        check.seconds + (check.name.hasPrefix("fuzz.") ? options.fuzzSeconds : 0),
        options.timeout ?? .infinity)
      let report = try child.run(request: Array(try JSONEncoder().encode(request)), seconds: limit)
      let finding = Self.finding(of: report, limit: limit)
      guard finding.result == .passed else { return finding }
      observations.append(
        Observation(finding: finding, output: report.output, outputBytes: report.outputBytes))
    }
    return check.compare?(observations) ?? observations.last?.finding ?? .skipped("no child ran")
  }

  /// How a child ended, as a finding: its own word only counts where it ended as it should.
  static func finding(of report: ChildProcess.Report, limit: Double) -> Finding {
    let place = report.doing.isEmpty ? "before the plug-in was called" : "in \(report.doing)"
    switch report.ending {
    case .timeout:
      return .failed(
        "it did not come back within \(limit) s, \(place)",
        cure: "find what it waits for: nothing in a plug-in may block for longer than its call allows")
    case .signal(let number):
      return .failed(
        "the process was killed by \(SignalName.of(number)), \(place)",
        cure: "run `gdb --args skein plugin test`, or compile the plug-in with -g -fsanitize=address")
    case .exit(let code):
      guard code == 0, let finding = try? JSONDecoder().decode(Finding.self, from: Data(report.result)) else {
        return .failed(
          "the process ended by itself with exit code \(code), \(place)",
          cure: "never call exit or quick_exit: report an error by status")
      }
      return finding
    }
  }
}
