import Configuration
import Foundation
import SkeinClient

/// Fan-out: what happened to orders goes to those whom it concerns. Billing learns of placed orders, shipping of
/// paid ones, and mail of everything; each has a topic of its own and reads it at its own pace.
///
///     FanOut TOPIC                       to TOPIC.billing, TOPIC.shipping and TOPIC.mail
@main
struct FanOut {
  struct Event: Codable { var event: String }

  static func main() async throws {
    let source = CommandLine.arguments.dropFirst().first ?? "orders"
    let client = try Client(
      ClientConfiguration(config: ConfigReader(provider: EnvironmentVariablesProvider())))
    let names = ["billing", "shipping", "mail"]
    for name in names { try await client.admin.createTopicIfMissing("\(source).\(name)", partitions: 2) }

    var configuration = ReaderConfiguration()
    configuration.stopsAtEnd = true
    let reader = try await client.reader(topic: source, from: .beginning, configuration)
    let count = try await client.withProducer { producer in
      let billing = try await producer.topic("\(source).billing")
      let shipping = try await producer.topic("\(source).shipping")
      // Mail reads much and seldom: smaller is better than sooner.
      let mail = try await producer.topic("\(source).mail", compression: .zstd)
      var count = 0
      for try await record in reader.records {
        let event = try JSONDecoder().decode(Event.self, from: Data(record.value ?? [])).event
        let targets = [event == "placed" ? billing : nil, event == "paid" ? shipping : nil, mail]
        for target in targets {
          // Handed over, not waited for: the order of a key is kept, a full buffer holds this loop back, and the end
          // of the scope throws if anything was not published.
          try await target?.append(key: record.key, value: record.value)
          count += target == nil ? 0 : 1
        }
      }
      return count
    }
    await reader.close()
    print("\(count) records from \(source) to \(names.joined(separator: ", "))")
    await client.close()
  }
}
