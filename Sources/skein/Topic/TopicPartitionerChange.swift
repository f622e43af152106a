import ArgumentParser
import SkeinClient
import SkeinCore
import Synchronization

/// How a topic gets another partitioner, as options, and the following of it on the screen.
struct ChangeOptions: ParsableArguments {
  @Flag(help: "Keep the order of keys: wait for what is in flight, and note where each partition is cut.")
  var fence =
    false
  @Flag(help: "Without --fence: go on although keys move.") var acceptReorder = false
  @Option(
    help: ArgumentHelp(
      "How long the broker watches the new one, e.g. 30s or 5m (default: the broker's).", valueName: "time"))
  var watch: String?
  @Flag(help: "Return when the old one is gone, and leave the watching to the broker.") var noWait = false

  func options() throws -> PartitionerChangeOptions {
    var options = PartitionerChangeOptions()
    options.fence = fence
    options.acceptsReorder = acceptReorder
    if let watch {
      guard let time = Units.parseDuration(watch), time <= .seconds(86_400) else {
        throw UsageError("--watch \(watch.displayable): give a time up to 24h, e.g. 500ms, 30s, 5m or 1h")
      }
      options.watch = time
    }
    return options
  }

  /// Runs the change and shows its steps on stderr as they are done, its result on stdout.
  func follow(
    _ topic: String, _ connection: ConnectionOptions, _ output: OutputOptions,
    _ begin: @escaping @Sendable (Client) -> PartitionerChange
  ) async throws {
    let result = Mutex(ChangeResult(topic: topic))
    let noWait = noWait
    let interrupted = try await Signals.cancelling {
      var line = StepLine()
      do {
        try await connection.withClient { client in
          for try await step in begin(client) {
            result.withLock { $0.take(step) }
            line.add(step)
            if noWait, step.phase == .drained { break }
          }
        }
      } catch {
        line.end()
        throw error
      }
      line.end()
    }
    let end = result.withLock { $0 }
    if interrupted { try end.interrupted() }
    try output.show(end.json, names: [topic]) { end.text }
    if end.last?.phase == .rolledBack { throw ExitCode(Failure.failed) }
  }
}

/// What was heard of a change.
struct ChangeResult {
  let topic: String
  private(set) var last: PartitionerProgress?
  private var committed: UInt32?
  private var sampled: UInt64 = 0
  private var moved: UInt64 = 0
  private var cuts: [Int64] = []
  private var pause: Duration?

  init(topic: String) { self.topic = topic }

  mutating func take(_ step: PartitionerProgress) {
    last = step
    switch step.phase {
    case .prepared: (sampled, moved) = (step.sampled, step.moved)
    case .committed: committed = step.generation
    case .flipped: (pause, cuts) = (step.pause, step.cuts)
    default: break
    }
  }

  /// Says what ^C left behind.
  /// - Throws: when no commit was seen.
  func interrupted() throws {
    guard let committed else {
      throw LocalFailure(
        "left before a commit was seen; `skein topic describe \(topic.displayable)` shows whether there was one"
      )
    }
    guard last?.phase != .done, last?.phase != .rolledBack else { return }
    Console.note(
      "generation \(committed) is committed: the broker goes on without us; `skein topic describe \(topic.displayable)` shows how it ends"
    )
  }

  var text: String {
    guard let committed else { return "\(topic.displayable): nothing was heard of a commit" }
    var parts = ["\(topic.displayable) is at generation \(committed)"]
    if let step = last, step.phase == .rolledBack {
      let why = step.problem.map { ": \(Failure.escaped($0.message))" } ?? ""
      parts = [
        "\(topic.displayable) was ROLLED BACK to what generation \(step.rolledBackTo ?? 0) was, as generation \(step.generation)\(why)"
      ]
    }
    if let pause { parts.append("publishers were held up for \(StepLine.milliseconds(pause))") }
    return parts.joined(separator: "; ")
  }

  var json: JSON {
    .object([
      ("topic", .string(topic)), ("phase", .string(last?.phase.rawValue ?? "none")),
      ("generation", committed.map { .int(Int64($0)) } ?? .null),
      ("sampled", .int(Int64(clamping: sampled))), ("moved", .int(Int64(clamping: moved))),
      ("cuts", .array(cuts.map { .int($0) })),
      ("pause_us", pause.map { .int(Int64($0 / .microseconds(1))) } ?? .null),
      ("elapsed_us", last.map { .int(Int64($0.elapsed / .microseconds(1))) } ?? .null),
      ("rolled_back_to", last?.rolledBackTo.map { .int(Int64($0)) } ?? .null),
      ("problem", last?.problem?.json ?? .null),
    ])
  }
}

/// The steps on stderr: on one line of a terminal, as they come; elsewhere a line each.
struct StepLine {
  private let isTerminal = Console.isErrorTerminal
  private var isOpen = false

  mutating func add(_ step: PartitionerProgress) {
    guard let text = Self.text(step) else { return }
    if isTerminal {
      try? Console.write(Array(((isOpen ? " · " : "  ") + text).utf8), to: 2)
      isOpen = true
    } else {
      Console.note(text)
    }
  }

  mutating func end() {
    if isOpen { Console.note("") }
    isOpen = false
  }

  private static func text(_ step: PartitionerProgress) -> String? {
    let brokers = step.brokers > 0 ? "\(step.brokersDone)/\(step.brokers)" : ""
    switch step.phase {
    case .prepared:
      let share =
        step.sampled == 0
        ? "nothing to compare with" : "\(step.moved) of \(step.sampled) sampled records move"
      return "prepare \(brokers) ready, \(share)"
    case .fenced: return "fenced"
    case .committed: return "commit generation \(step.generation)"
    case .flipped: return "flipped \(brokers) in \(milliseconds(step.pause))"
    case .drained: return "drained"
    case .watching: return "watching … (Ctrl-C leaves it running)"
    case .done: return "done"
    case .rolledBack: return "ROLLED BACK"
    case .other: return nil
    }
  }

  static func milliseconds(_ time: Duration) -> String {
    let milliseconds = time / .milliseconds(1)
    return milliseconds < 10
      ? "\((milliseconds * 10).rounded() / 10) ms" : "\(Int(milliseconds.rounded())) ms"
  }
}
