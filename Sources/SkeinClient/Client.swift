public import NIOCore
import NIOPosix
import SkeinCore
import Synchronization
import Transport
import Wire

/// The entry point of the SDK: one identity, one set of addresses, any number of producers, readers and
/// consumers.
///
/// ```swift
/// let client = try Client(ClientConfiguration(address: "localhost:7600", tls: identity))
/// let producer = try await client.producer()
/// let orders = try await producer.topic("orders")
/// let place = try await orders.send(key: Array("42".utf8), value: Array("...".utf8))
///
/// for try await batch in try await client.reader(topic: "orders", from: .beginning) {
///   try batch.forEachRecord { record in … }
/// }
/// try await producer.close()
/// await client.close()
/// ```
/// Each producer, reader and consumer has a connection of its own, so that one cannot hold up another; unary calls
/// (`Admin`) share a pool. Making a `Client` opens nothing. Any thread.
public final class Client: Sendable {
  let configuration: ClientConfiguration
  let connector: Connector
  private let ownedGroup: MultiThreadedEventLoopGroup?
  /// What producers, readers and consumers run on.
  let supervisors = TaskRoster()

  /// - Parameter eventLoopGroup: nil makes one of `configuration.eventLoopThreads`, ended by `close`.
  /// - Throws: INVALID_REQUEST for an address that cannot be read.
  public init(
    _ configuration: ClientConfiguration, eventLoopGroup: (any EventLoopGroup)? = nil
  ) throws(SkeinError) {
    self.configuration = configuration
    if let eventLoopGroup {
      ownedGroup = nil
      connector = try Connector(configuration, group: eventLoopGroup, random: SystemRandom())
    } else {
      let group = MultiThreadedEventLoopGroup(numberOfThreads: max(1, configuration.eventLoopThreads))
      ownedGroup = group
      do throws(SkeinError) {
        connector = try Connector(configuration, group: group, random: SystemRandom())
      } catch {
        group.shutdownGracefully { _ in }
        throw error
      }
    }
  }

  /// Topics and the cluster.
  public var admin: Admin { Admin(client: self) }

  /// A producer, once its stream is open. Close it to be sure of everything it took.
  /// - Throws: UNREACHABLE, a refusal of access, or a wrong configuration.
  public func producer(
    _ configuration: ProducerConfiguration = ProducerConfiguration()
  ) async throws(SkeinError) -> Producer {
    try await Producer.open(self, configuration)
  }

  /// Runs `body` with a producer that is flushed and closed at its end, so that nothing is left behind.
  /// - Throws: what `body` throws (what it handed over is sent all the same), or the first failure of a record that
  ///   nobody waited for.
  public nonisolated(nonsending) func withProducer<Result>(
    _ configuration: ProducerConfiguration = ProducerConfiguration(),
    _ body: nonisolated(nonsending) (Producer) async throws -> Result
  ) async throws -> Result {
    let producer = try await producer(configuration)
    do {
      let result = try await body(producer)
      try await producer.close()
      return result
    } catch {
      try? await producer.close()
      throw error
    }
  }

  /// A reader of one topic.
  /// - Parameters:
  ///   - partitions: nil is all.
  ///   - start: where to begin in each.
  public func reader(
    topic: String, partitions: [Int32]? = nil, from start: ReadStart = .beginning,
    _ configuration: ReaderConfiguration = ReaderConfiguration()
  ) async throws(SkeinError) -> Reader {
    try await Reader.open(
      self, topic: topic, partitions: partitions, from: start, configuration)
  }

  /// A member of a consumer group, once the broker has taken it.
  /// - Parameters:
  ///   - topics: names; a topic that does not exist yet is waited for.
  ///   - patterns: regular expressions (PCRE2) for whole names, also of topics that are made later.
  /// - Throws: UNREACHABLE, a refusal of access, GROUP_LIMIT, UNKNOWN_ASSIGNOR, PATTERN_INVALID,
  ///   UNRELEASED_INSTANCE_ID, or a wrong configuration.
  public func consumer(
    group: String, topics: [String] = [], patterns: [String] = [],
    _ configuration: ConsumerConfiguration = ConsumerConfiguration()
  ) async throws(SkeinError) -> Consumer {
    try await Consumer.open(self, group: group, topics: topics, patterns: patterns, configuration)
  }

  /// Ends what is left of producers, readers and consumers, and the client's own event loops. Close producers and
  /// consumers before: what the former still hold fails here, the latter leave no word.
  public func close() async {
    await supervisors.end()
    await connector.channel.close()
    try? await ownedGroup?.shutdownGracefully()
  }

  // MARK: Identity

  /// Uses another identity from now on, e.g. one issued by a secrets manager. Nothing is interrupted: streams go
  /// on with the old one until they are opened again, the pool's connections end with their last call.
  public func replaceIdentity(_ identity: TLSIdentity) { connector.replace(identity) }

  /// Reads the identity's files again. Needed only for `Admin`'s pooled connections: every new connection reads the
  /// files anyway, and a file that is being replaced at that moment is read again a moment later.
  public func reloadIdentity() { connector.reload() }

  /// One unary call, on the pool.
  func unary<Reply: WireMessage>(
    _ path: String, _ request: some WireMessage, _: Reply.Type
  ) async throws(SkeinError) -> Reply {
    let reply = try await connector.unary(
      path, OutboundMessage(head: request.encoded()),
      deadline: .now() + .nanoseconds(configuration.requestTimeout.nanosecondsClamped),
      waitsForReady: configuration.waitsForReady)
    do { return try Reply(decoding: reply, limits: .reply) } catch { throw SkeinError(wrapping: error) }
  }
}
