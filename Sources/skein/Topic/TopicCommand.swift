import ArgumentParser
import SkeinClient
import SkeinCore

struct TopicCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "topic", abstract: "Create, list, describe, change and delete topics.",
    subcommands: [
      Create.self, List.self, TopicDescribe.self, TopicAlter.self, TopicAddPartitions.self, Delete.self,
      TopicOffsets.self, TopicDeleteRecords.self,
      TopicTail.self, RecordsCommand.self, TopicAcceptLoss.self, TopicPartitionerCommand.self,
    ],
    aliases: ["topics"])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Create a topic.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @Argument(help: "Its name.") var name: String
    @Option(name: .shortAndLong, help: "1 to 10,000 (default: the broker's).") var partitions: Int32?
    @Option(
      help: "murmur2 (default), sticky, round-robin, or a plug-in as ID@VERSION.",
      completion: .list(["murmur2", "sticky", "round-robin"]))
    var partitioner = ""
    @Option(
      help: ArgumentHelp(
        "For a plug-in: a JSON object that fits its schema, or @FILE with one.", valueName: "json|@file"))
    var partitionerConfig: String?
    @Option(help: ArgumentHelp("One number per partition, e.g. 1,1,2.", valueName: "numbers"))
    var partitionerWeights: String?
    @Option(
      help: ArgumentHelp(
        "While the plug-in does not answer: reject (publishing waits), or a built-in, which moves keys.",
        valueName: "reject|built-in"))
    var partitionerFallback: String?
    @Option(
      name: [.customShort("c"), .customLong("set")],
      help: ArgumentHelp("A setting, e.g. retention.ms=86400000; repeatable.", valueName: "key=value"))
    var set: [String] = []
    @Flag(help: "Succeed when a topic of that name exists already; it is not compared.") var ifNotExists =
      false

    func run() async throws {
      let settings = try KeyValue.parse(set, option: "--set")
      if let problem = TopicName.problem(name) { throw UsageError("topic name \(problem)") }
      if let partitions, !TopicName.partitionRange.contains(partitions) {
        throw UsageError("--partitions must be 1 to 10000, is \(partitions)")
      }
      let binding = try BindingOptions.binding(
        partitioner, config: partitionerConfig, weights: partitionerWeights, fallback: partitionerFallback,
        prefix: "--partitioner-")
      let created = try await connection.withClient { client -> (id: String, isNew: Bool) in
        let id = try await nilIf(ifNotExists ? .topicExists : nil) {
          try await client.admin.createTopic(
            name, partitions: partitions ?? 0, binding: binding, settings: settings)
        }
        if let id { return (id, true) }
        return (try await client.admin.describeTopic(name).topic.id, false)
      }
      let json = JSON.object([
        ("topic", .string(name)), ("topic_id", .string(created.id)), ("created", .bool(created.isNew)),
      ])
      try options.show(json, names: [name]) {
        "\(created.isNew ? "created" : "exists:") \(name) (\(created.id.displayable))"
      }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the topics.", aliases: ["ls"])
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @Argument(help: "Only names like this, with * and ?, e.g. 'orders-*'.") var pattern: String?
    @Flag(name: .shortAndLong, help: "Ask for records and bytes of each as well.") var detailed = false

    func run() async throws {
      let (topics, details) = try await connection.withClient { client in
        let topics = try await client.admin.listTopics().filter { topic in
          pattern.map { Glob.matches(topic.name, $0) } ?? true
        }
        return (topics, detailed ? try await describe(topics, client) : [:])
      }
      let json = JSON.array(
        topics.map { topic in .object(topic.fields + (details[topic.name].map(\.totals) ?? [])) })
      try options.show(json, names: topics.map(\.name)) {
        var table = Table(
          ["NAME", "PARTITIONS"] + (detailed ? ["RECORDS", "BYTES", "STATE"] : [])
            + ["PARTITIONER", "GENERATION", "ID"], right: detailed ? [1, 2, 3] : [1])
        for topic in topics {
          let detail = details[topic.name]
          table.add(
            [topic.name, String(topic.partitionCount)]
              + (detailed
                ? [
                  detail.map { String($0.records) } ?? "-", detail.map { Units.bytes($0.sizeBytes) } ?? "-",
                  detail?.state ?? "deleted",
                ] : []) + [topic.partitioner, String(topic.generation), topic.id])
        }
        return table.text
      }
    }

    /// One question a topic; what was deleted meanwhile is left out.
    private func describe(_ topics: [TopicSummary], _ client: Client) async throws -> [String:
      TopicDescription]
    {
      var found: [String: TopicDescription] = [:]
      var progress = Progress(total: topics.count, unit: "topics")
      defer { progress.finish() }
      for topic in topics {
        found[topic.name] = try await nilIf(.topicNotFound) {
          try await client.admin.describeTopic(topic.name)
        }
        progress.update(found.count)
      }
      return found
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Delete topics and their records, for good.", aliases: ["rm"])
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @Argument(help: "Their names.", completion: .custom(DynamicNames.topics)) var name: [String]
    @Flag(help: "Succeed for topics that do not exist.") var ifExists = false

    func run() async throws {
      // One after the other: what was deleted is said even when a later one fails.
      for name in name {
        let existed = try await connection.withClient { client in
          try await nilIf(ifExists ? .topicNotFound : nil) { try await client.admin.deleteTopic(name) } != nil
        }
        try options.show(
          .object([("deleted", .string(name)), ("existed", .bool(existed))]), names: existed ? [name] : []
        ) { existed ? "deleted \(name.displayable)" : "absent: \(name.displayable)" }
      }
    }
  }
}

/// `key=value` options.
enum KeyValue {
  static func parse(_ texts: [String], option: String) throws -> [String: String] {
    var values: [String: String] = [:]
    for text in texts {
      let (key, value) = try split(text, option: option)
      guard values.updateValue(value, forKey: key) == nil else {
        throw UsageError("\(option) \(key.displayable) is given twice")
      }
    }
    return values
  }

  static func split(_ text: String, option: String) throws -> (key: String, value: String) {
    guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
      throw UsageError("\(option) \(text.displayable): give key=value")
    }
    return (String(text[..<equals]), String(text[text.index(after: equals)...]))
  }
}
