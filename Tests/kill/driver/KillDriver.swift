import ArgumentParser
import Foundation
import SkeinClient

/// Three proofs against real brokers: `KillDriver …` (kills under load), `KillDriver swap …` (live swaps of a
/// partitioner, with or without kills), and `KillDriver group …` (members of a consumer group, harmed in every way).
@main
struct Driver: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "KillDriver",
    subcommands: [KillDriver.self, SwapDriver.self, GroupDriver.self, GroupMember.self],
    defaultSubcommand: KillDriver.self)
}

/// Kills a real broker with SIGKILL at random moments while idempotent producers with retries write,
/// and proves afterwards that every acknowledged record is there once, in order, unaltered.
///
/// Exit codes: 0 the promise held; 1 it was broken (the report says how); 2 the test itself could not
/// run. `Tests/kill/run.sh` is the way to start it; Docs/testing.md says what each mode proves.
struct KillDriver: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "kill")

  @Option(help: "The broker's program.") var skeind: String
  @Option(help: "An empty folder for this run.") var directory: String
  @Option(help: "How often to kill.") var rounds = 20
  @Option(help: "Seed of the moments and payloads; 0 draws one.") var seed: UInt64 = 0
  @Option(help: "Partitions of the topic.") var partitions: Int32 = 8
  @Option(help: "Producers, each with a connection of its own.") var producers = 4
  @Option(help: "Records a second and producer, at most.") var rate = 3_000
  @Option(help: "kill (SIGKILL) or term (SIGTERM: drain, end with 0).") var stop = Stop.kill
  @Flag(help: "Replace every certificate under load in each round, authority included.") var rotate = false
  @Flag(help: "Tell the broker nothing of it (a control: must fail).") var noReload = false
  @Option(help: "Environment of the broker, KEY=VALUE; may be repeated.") var environment: [String] = []
  @Option(
    help:
      "Shell command run after each kill, before the restart; DIR is the broker's folder, ROUND_SEED a number."
  )
  var afterKill: String?

  enum Stop: String, ExpressibleByArgument { case kill, term }

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    let seed = self.seed == 0 ? UInt64.random(in: 1...UInt64.max) : self.seed
    say("seed \(seed): \(rounds) kills, \(producers) producers, \(partitions) partitions")
    do {
      let report = try await Trial(self, seed: seed).run()
      say(report.summary)
      for line in report.examples { say("  \(line)") }
      if report.isClean { return }
      say("replay: --seed \(seed) (the moments repeat, the machine's timing does not)")
      throw ExitCode(1)
    } catch let code as ExitCode {
      throw code
    } catch {
      say("the trial could not run: \(error)")
      throw ExitCode(2)
    }
  }

  var variables: [String: String] { environmentVariables(environment) }
}

/// This process's, with KEY=VALUE pairs in their place.
func environmentVariables(_ pairs: [String]) -> [String: String] {
  var all = ProcessInfo.processInfo.environment
  for pair in pairs {
    let parts = pair.split(separator: "=", maxSplits: 1).map(String.init)
    if parts.count == 2 { all[parts[0]] = parts[1] }
  }
  return all
}

/// What is wrong with the test's surroundings, not with the promise.
struct TrialFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// A line on stdout at once, whatever it leads to.
func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
