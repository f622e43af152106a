import Configuration
import Foundation
import SkeinClient

/// An order service: takes orders and tells the world about each one, in three events that must arrive once and
/// in this order. Orders are worked on side by side; an event counts when the broker has it on disk.
///
///     OrderService TOPIC [ORDERS]        configuration: SKEIN_SERVERS, SKEIN_TLS_CA, SKEIN_TLS_CERTIFICATE, SKEIN_TLS_KEY
@main
struct OrderService {
  /// What is published, as JSON; the key is the order, so that its events stay in one partition, in order.
  struct Event: Codable {
    var order: String
    var event: String
    var cents: Int
  }

  static func main() async throws {
    let topic = CommandLine.arguments.dropFirst().first ?? "orders"
    let count = CommandLine.arguments.dropFirst(2).first.flatMap { Int($0) } ?? 200
    let client = try Client(
      ClientConfiguration(config: ConfigReader(provider: EnvironmentVariablesProvider())))
    try await client.admin.createTopicIfMissing(topic, partitions: 4, settings: ["compression.type": "zstd"])

    // Flushed and closed at the end of the scope, whatever happens in it.
    let slowest = try await client.withProducer { producer in
      let orders = try await producer.topic(topic)
      return try await withThrowingTaskGroup(of: Duration.self) { group in
        for number in 0..<count { group.addTask { try await work(on: number, orders) } }
        var slowest = Duration.zero
        for try await latency in group { slowest = max(slowest, latency) }
        return slowest
      }
    }
    print("published \(count * 3) events of \(count) orders to \(topic); the slowest took \(slowest)")
    await client.close()
  }

  /// One order, from its placing to its shipping.
  static func work(on number: Int, _ orders: ProducerTopic) async throws -> Duration {
    var slowest = Duration.zero
    for event in ["placed", "paid", "shipped"] {
      let value = Event(order: "order-\(number)", event: event, cents: 100 + number)
      // Returns when it is durable, with its place and where the time went. What could be retried was retried.
      let place = try await orders.send(
        key: Array(value.order.utf8), value: Array(try JSONEncoder().encode(value)))
      slowest = max(slowest, place.latency)
    }
    return slowest
  }
}
