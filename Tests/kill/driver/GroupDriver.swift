import ArgumentParser
import Foundation

/// A consumer group of real processes under a steady load, and what each fault costs: time until every partition is
/// consumed again, gaps of the partitions that it does not concern, records processed twice, records lost.
///
/// The members are processes of this program (`KillDriver member`); the check reads their own logs, the broker's word
/// is asked for only at the end (committed offsets against the ends of the partitions).
///
/// Exit codes: 0 the promises held; 1 one was broken (the report says how); 2 the test itself could not run.
struct GroupDriver: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "group",
    abstract: "Kills, stops and restarts members of a consumer group and checks every record.")

  enum Fault: String, ExpressibleByArgument, CaseIterable {
    /// SIGKILL of a member.
    case kill
    /// SIGSTOP of a member, and SIGCONT when the others have its partitions.
    case stop
    case join
    /// SIGTERM of a member.
    case leave
    /// Every member is replaced, one after another.
    case rolling
    /// SIGKILL of the broker.
    case broker
    /// A member that is slower than its processing deadline, with and without asking for more time.
    case slow
  }

  @Option(help: "The broker's program.") var skeind: String
  @Option(help: "An empty folder for this run.") var directory: String
  @Option(help: "Environment of the broker, KEY=VALUE; may be repeated.") var environment: [String] = []
  @Option(help: "Members at the beginning.") var members = 6
  @Option(help: "Partitions of the topic.") var partitions = 48
  @Option(help: "Records a second and partition.") var rate = 20
  @Option(help: "The faults, in order, separated by commas.") var faults =
    "kill,join,stop,rolling,join,leave,broker,slow"
  @Option(help: "How often all of them.") var rounds = 1
  @Option(help: "The broker's session limit, in milliseconds.") var sessionMs = 45_000
  @Option(help: "How long the broker waits for a broken stream, in milliseconds.") var graceMs = 6_000
  @Option(help: "Between two heartbeats, in milliseconds.") var heartbeatMs = 5_000
  @Option(
    help: "How much longer the p99 gap of unaffected partitions may be than without faults, in milliseconds.")
  var gapLimitMs = 50
  @Option(help: "Milliseconds of load before the first fault: what the gaps are compared with.") var before =
    4_000
  @Flag(help: "The members commit before they process (a control: must fail).") var commitFirst = false

  func validate() throws {
    guard members >= 2, partitions >= members, rate >= 1, rounds >= 1 else {
      throw ValidationError(
        "--members at least 2, --partitions at least as many, --rate and --rounds at least 1")
    }
    guard faults.split(separator: ",").allSatisfy({ Fault(rawValue: String($0)) != nil }) else {
      throw ValidationError("--faults: \(Fault.allCases.map(\.rawValue).joined(separator: ","))")
    }
  }

  var sequence: [Fault] {
    (0..<rounds).flatMap { _ in faults.split(separator: ",").compactMap { Fault(rawValue: String($0)) } }
  }

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    do {
      let report = try await GroupTrial(self).run()
      say(report.summary)
      for line in report.examples { say("  \(line)") }
      // The control is about lost records and nothing else.
      guard report.isClean else { throw ExitCode(commitFirst && report.lost == 0 ? 2 : 1) }
    } catch let code as ExitCode {
      throw code
    } catch {
      say("the trial could not run: \(error)")
      throw ExitCode(2)
    }
  }
}
