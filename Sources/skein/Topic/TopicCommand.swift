import ArgumentParser
import SkeinClient
import SkeinCore

struct TopicCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "topic", abstract: "Create, list, describe and delete topics.",
    subcommands: [Create.self, List.self, Describe.self, Delete.self, RecordsCommand.self])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Create a topic.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @Argument(help: "Its name.") var name: String
    @Option(help: "1 to 10,000 (default: the broker's).") var partitions: Int32?
    @Option(help: "murmur2 (default), sticky or round-robin.") var partitioner = ""
    @Option(help: ArgumentHelp("A setting, e.g. retention.ms=86400000; repeatable.", valueName: "key=value"))
    var set: [String] = []

    func run() async throws {
      let settings = try KeyValue.parse(set, option: "--set")
      if let problem = TopicName.problem(name) { throw UsageError("topic name \(problem)") }
      if let partitions, !TopicName.partitionRange.contains(partitions) {
        throw UsageError("--partitions must be 1 to 10000, is \(partitions)")
      }
      let id = try await connection.withClient { client in
        try await client.admin.createTopic(
          name, partitions: partitions ?? 0, partitioner: partitioner, settings: settings)
      }
      switch options.output {
      case .json:
        try Console.print(JSON.object([("topic", .string(name)), ("topic_id", .string(id))]).text)
      case .table: try Console.print("created \(name) (\(id.displayable))")
      }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the topics.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions

    func run() async throws {
      let topics = try await connection.withClient { try await $0.admin.listTopics() }
      switch options.output {
      case .json: try Console.print(JSON.array(topics.map(\.json)).text)
      case .table:
        var table = Table(["NAME", "PARTITIONS", "PARTITIONER", "GENERATION", "ID"])
        for topic in topics {
          table.add([
            topic.name, String(topic.partitionCount), topic.partitioner, String(topic.generation), topic.id,
          ])
        }
        try Console.print(table.text)
      }
    }
  }

  struct Describe: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show a topic's partitions, offsets and settings.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @Argument(help: "Its name.") var name: String

    func run() async throws {
      let topic = try await connection.withClient { try await $0.admin.describeTopic(name) }
      switch options.output {
      case .json: try Console.print(topic.json.text)
      case .table: try Console.print(topic.tables)
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Delete a topic and its records, for good.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @Argument(help: "Its name.") var name: String

    func run() async throws {
      try await connection.withClient { try await $0.admin.deleteTopic(name) }
      switch options.output {
      case .json: try Console.print(JSON.object([("deleted", .string(name))]).text)
      case .table: try Console.print("deleted \(name.displayable)")
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
