import ArgumentParser
import SkeinClient
import SkeinCore

struct TopicDescribe: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "describe", abstract: "Show a topic's partitions, sizes, rates, state and settings.",
    discussion: """
      IN and OUT are records per second of the broker's last minute. With --rates
      they are what the partitions grew by between two looks, --interval apart.
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "Its name.", completion: .custom(DynamicNames.topics)) var name: String
  @Flag(help: "Look twice and show records and bytes per second.") var rates = false
  @Flag(name: .shortAndLong, help: "Look again and again, with rates, until ^C.") var watch = false
  @Option(help: ArgumentHelp("Between two looks.", valueName: "seconds")) var interval = 1.0
  @Flag(help: "With each setting, what it means.") var meanings = false

  func validate() throws {
    guard (0.1...3600).contains(interval) else {
      throw ValidationError("--interval must be 0.1 to 3600 s, is \(interval)")
    }
  }

  func run() async throws {
    _ = try await Signals.cancelling {
      try await connection.withClient { client in
        var last = try await Look(client, name)
        guard rates || watch else { return try show(last, nil) }
        repeat {
          try await Task.sleep(for: .seconds(interval))
          let next = try await Look(client, name)
          try show(next, TopicRates(from: last, to: next))
          last = next
        } while watch
      }
    }
  }

  private func show(_ look: Look, _ rates: TopicRates?) throws {
    try options.show(look.topic.json(rates), names: [name]) {
      look.topic.tables(rates, meanings: meanings) + (watch ? "\n" : "")
    }
  }

  /// A description and when it was made.
  struct Look: Sendable {
    let topic: TopicDescription
    let time: Int64

    init(_ client: Client, _ name: String) async throws {
      topic = try await client.admin.describeTopic(name)
      time = monotonicNow()
    }
  }
}

/// How fast a topic grew between two looks, by partition.
struct TopicRates {
  struct Rate {
    var recordsPerSecond = 0.0
    /// Nil where retention or a deletion made the partition smaller meanwhile.
    var bytesPerSecond: Double?
  }

  private var rates: [Int32: Rate] = [:]
  private(set) var total = Rate(bytesPerSecond: 0)

  init(from before: TopicDescribe.Look, to after: TopicDescribe.Look) {
    let seconds = max(1e-3, Double(after.time - before.time) / 1e9)
    let old = Dictionary(
      before.topic.partitions.map { ($0.partition, $0) }, uniquingKeysWith: { first, _ in first })
    // A topic made again under the name is another one.
    guard before.topic.topic.id == after.topic.topic.id else { return }
    for new in after.topic.partitions {
      guard let was = old[new.partition] else { continue }
      let records = Double(new.highWatermark - was.highWatermark) / seconds
      let bytes = Double(new.sizeBytes - was.sizeBytes) / seconds
      rates[new.partition] = Rate(recordsPerSecond: records, bytesPerSecond: bytes >= 0 ? bytes : nil)
      total.recordsPerSecond += records
      total.bytesPerSecond = bytes >= 0 ? total.bytesPerSecond.map { $0 + bytes } : nil
    }
  }

  subscript(_ partition: Int32) -> Rate? { rates[partition] }
}
