import ArgumentParser
import Foundation
import SkeinClient
import Synchronization

/// Publishes numbered records of many keys at a steady rate while a topic's partitioner is swapped, and proves
/// afterwards, as a reader, that none is lost, repeated, or out of order within its key; prints what publishers
/// felt of the swaps.
///
/// The swaps are its own (`--swap`), or somebody else's meanwhile. With `--skeind` the broker is its own, too, and
/// is killed in the midst of every other swap: after each restart exactly the committed generation must be in force.
///
/// Exit codes: 0 the promise held; 1 it was broken (the report says how); 2 the test itself could not run.
struct SwapDriver: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "swap", abstract: "Swaps a live topic's partitioner under load and checks every record.")

  @Option(help: "HOST:PORT of a running broker.") var address: String?
  @Option(help: "Its folder of ca.pem, admin.pem, admin.key.") var tls: String?
  @Option(help: "Or: the broker's program, started, killed and started again by this driver.") var skeind:
    String?
  @Option(help: "With --skeind: an empty folder for this run.") var directory: String?
  @Option(help: "With --skeind: environment of the broker, KEY=VALUE; may be repeated.") var environment:
    [String] =
      []
  @Option(
    help:
      "With --skeind: shell command after the first start, e.g. to install plug-ins; CONTEXT, ADDRESS, TLS are set."
  )
  var setup: String?
  @Option(help: "With --skeind: of 100 swaps, how many are met by a SIGKILL.") var killShare = 50

  @Option(help: "With --skeind: a kill comes within this many milliseconds of its swap's beginning.")
  var killWithin = 100

  @Option(help: "The topic; made with --partitions if it is not there.") var topic = "swaps"
  @Option(help: "Partitions of a new topic.") var partitions: Int32 = 8
  @Option(
    help:
      "A partitioner to swap to, in turn with the others: NAME, ID@VERSION, or 'ID@VERSION {json}'. Repeatable."
  )
  var swap: [String] = []
  @Option(help: "How many swaps; 0: as many as fit into --seconds.") var swaps = 0
  @Option(help: "Milliseconds between two swaps.") var every = 1_000
  @Flag(help: "Swap with a fence.") var fence = false
  @Flag(help: "Swap without one although keys move.") var acceptReorder = false
  @Option(help: "How long the broker watches each, in milliseconds.") var watch = 1

  @Option(help: "How long to publish, when --swaps does not say; 0: until SIGINT or SIGTERM.") var seconds =
    10
  @Option(help: "Milliseconds of publishing before the first swap: what the swaps are compared with.")
  var before =
    2_000
  @Option(help: "Records a second, all producers together.") var rate = 2_000
  @Option(help: "Producers, each with a stream of its own.") var producers = 2
  @Option(help: "Different keys of each producer.") var keys = 500
  @Option(help: "Bytes of a value.") var size = 100
  @Option(help: "Milliseconds around a swap of somebody else that count as \"during\".") var around = 250
  @Option(
    help:
      "Partitioners that do not keep a key in one partition, so that only its order across fences is checked."
  )
  var unkeyed = "sticky,round-robin"
  @Option(help: "Seed of the kills; 0 draws one.") var seed: UInt64 = 0
  @Flag(help: "The report as one line of JSON.") var json = false

  func validate() throws {
    guard (skeind == nil) == (directory == nil), (address == nil) == (tls == nil),
      (skeind == nil) != (address == nil)
    else { throw ValidationError("give --address and --tls, or --skeind and --directory") }
    guard producers > 0, keys > 0, rate > 0, size >= 16, (0...100).contains(killShare) else {
      throw ValidationError(
        "--producers, --keys and --rate must be above 0, --size at least 16, --kill-share 0 to 100")
    }
  }

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    do {
      let report = try await SwapTrial(self).run()
      say(json ? report.json : report.summary)
      for line in report.examples { say("  \(line)") }
      guard report.isClean else { throw ExitCode(1) }
    } catch let code as ExitCode {
      throw code
    } catch {
      say("the trial could not run: \(error)")
      throw ExitCode(2)
    }
  }
}
