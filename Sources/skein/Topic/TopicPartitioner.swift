import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

/// `skein topic partitioner`: which partition a record goes to, changed while the topic is in use.
struct TopicPartitionerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "partitioner", abstract: "Compare, change and roll back a live topic's partitioner.",
    subcommands: [Diff.self, Set.self, Rollback.self])

  struct Diff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show how many keys would go to another partition. Changes nothing.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @OptionGroup var topic: TopicArgument
    @OptionGroup var wanted: BindingOptions
    @Option(help: ArgumentHelp("Newest records to look at, 1 to 100000.", valueName: "records")) var sample:
      UInt32 = 50_000

    func validate() throws {
      guard (1...100_000).contains(sample) else {
        throw ValidationError("--sample must be 1 to 100000, is \(sample)")
      }
    }

    func run() async throws {
      let binding = try wanted.binding()
      let found = try await connection.withClient { client in
        try await client.admin.diffPartitioner(topic.topic, binding, sample: sample)
      }
      try options.show(found.json(topic.topic, binding), names: [topic.topic]) { found.text }
    }
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Give a live topic another partitioner.",
      discussion: """
        Nothing is restarted. With --fence every record of the old partitioner is
        durable before any of the new one is taken, so that the order of keys can be
        kept by readers; otherwise --accept-reorder is needed when keys move. After the
        commit ^C leaves it running at the broker, which watches the new partitioner
        and goes back by itself when it is faulty, slow or uneven.
        """)
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @OptionGroup var topic: TopicArgument
    @OptionGroup var wanted: BindingOptions
    @OptionGroup var change: ChangeOptions
    @Option(
      help: ArgumentHelp(
        "Change only if the topic is at this revision (`topic describe -o json`).", valueName: "number"))
    var ifRevision: Int64?

    func run() async throws {
      let binding = try wanted.binding()
      var how = try change.options()
      how.expectedRevision = ifRevision
      let (name, options) = (topic.topic, how)
      try await change.follow(name, connection, self.options) { client in
        client.admin.setPartitioner(name, to: binding, options)
      }
    }
  }

  struct Rollback: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Go back to the partitioner before, as a new generation.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @OptionGroup var topic: TopicArgument
    @OptionGroup var change: ChangeOptions

    func run() async throws {
      let how = try change.options()
      let name = topic.topic
      try await change.follow(name, connection, options) { client in
        client.admin.rollbackPartitioner(name, how)
      }
    }
  }
}

/// A partitioner and its configuration, as arguments.
struct BindingOptions: ParsableArguments {
  @Argument(
    help: "murmur2, sticky, round-robin, or a plug-in as ID@VERSION.",
    completion: .list(BuiltInPartitioner.allCases.map(\.rawValue)))
  var partitioner: String
  @Option(
    help: ArgumentHelp(
      "For a plug-in: a JSON object that fits its schema, or @FILE with one.", valueName: "json|@file"))
  var config: String?
  @Option(help: ArgumentHelp("One number per partition, e.g. 1,1,2.", valueName: "numbers")) var weights:
    String?
  @Option(
    help: ArgumentHelp(
      "While the plug-in does not answer: reject (publishing waits), or a built-in, which moves keys.",
      valueName: "reject|built-in"))
  var fallback: String?

  func binding() throws -> PartitionerBinding {
    try Self.binding(partitioner, config: config, weights: weights, fallback: fallback, prefix: "--")
  }

  /// - Parameter prefix: of the options' names in messages.
  static func binding(
    _ partitioner: String, config: String?, weights: String?, fallback: String?, prefix: String
  ) throws -> PartitionerBinding {
    let known = ["reject"] + BuiltInPartitioner.allCases.map(\.rawValue)
    if let fallback, !known.contains(fallback) {
      throw UsageError(
        "\(prefix)fallback \(fallback.displayable): give \(known.joined(separator: ", "))\(NearestWord.hint(for: fallback, in: known))"
      )
    }
    return PartitionerBinding(
      partitioner, config: try config.map { try json($0, option: "\(prefix)config") } ?? "",
      weights: try weights.map { try numbers($0, option: "\(prefix)weights") } ?? [],
      fallback: fallback ?? "")
  }

  private static func json(_ text: String, option: String) throws -> String {
    guard text.hasPrefix("@") else { return try object(Data(text.utf8), text, option) }
    let path = String(text.dropFirst())
    guard let data = FileManager.default.contents(atPath: path) else {
      throw UsageError("\(option): cannot read the file \(path.displayable)")
    }
    return try object(data, path, option)
  }

  /// What the plug-in wants of it, the broker says; that it is an object, everybody can see.
  private static func object(_ data: Data, _ what: String, _ option: String) throws -> String {
    guard let value = try? JSONSerialization.jsonObject(with: data), value is [String: Any] else {
      throw UsageError("\(option) \(what.displayable) is not a JSON object, e.g. {\"replicas\": 64}")
    }
    return String(decoding: data, as: UTF8.self)
  }

  private static func numbers(_ text: String, option: String) throws -> [UInt32] {
    try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
      guard let number = UInt32(part.trimmingPrefix(" ")) else {
        throw UsageError("\(option) \(text.displayable): give one number per partition, e.g. 1,1,2")
      }
      return number
    }
  }
}

extension PartitionerDifference {
  /// 12.4%, or how many of how few.
  var share: String {
    sampled == 0 ? "no keyed records were sampled" : "\(percent) of \(sampled) sampled keyed records"
  }

  private var percent: String { String(format: "%.1f%%", movedShare * 100) }

  var text: String {
    let moves = sampled == 0 ? share : share + " would move"
    guard !before.isEmpty || !after.isEmpty else { return moves }
    var table = Table(["PARTITION", "RECORDS NOW", "RECORDS THEN"], right: [0, 1, 2])
    for partition in 0..<max(before.count, after.count) {
      table.add([
        String(partition), before.indices.contains(partition) ? String(before[partition]) : "-",
        after.indices.contains(partition) ? String(after[partition]) : "-",
      ])
    }
    return moves + "; the new one takes \(nanosecondsPerRecord) ns a record\n\n" + table.text
  }

  func json(_ topic: String, _ binding: PartitionerBinding) -> JSON {
    .object([
      ("topic", .string(topic)), ("partitioner", .string(binding.partitioner)),
      ("sampled", .int(Int64(clamping: sampled))), ("moved", .int(Int64(clamping: moved))),
      ("moved_share", .double(movedShare)),
      ("before", .array(before.map { .int(Int64(clamping: $0)) })),
      ("after", .array(after.map { .int(Int64(clamping: $0)) })),
      ("nanoseconds_per_record", .int(Int64(clamping: nanosecondsPerRecord))),
    ])
  }
}
