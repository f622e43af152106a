public import NIOCore
import NIOPosix
import SkeinCore
import Synchronization
import Transport
import Wire

/// The entry point of the SDK: one identity, one set of addresses, any number of producers and readers.
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
/// Each producer and reader has a connection of its own, so that one cannot hold up another;
/// `Admin` has one more. Making a `Client` opens nothing. Any thread.
public final class Client: Sendable {
  let configuration: ClientConfiguration
  let connector: Connector
  private let ownedGroup: MultiThreadedEventLoopGroup?
  private let unaryConnection = ConnectionCell()
  /// What producers and readers run on.
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

  /// Ends what is left of producers and readers, and the client's own event loops. Close producers
  /// before: what they still hold fails here.
  public func close() async {
    await supervisors.end()
    await unaryConnection.close()
    try? await ownedGroup?.shutdownGracefully()
  }

  /// One unary call on the shared connection.
  func unary<Reply: WireMessage>(
    _ path: String, _ request: some WireMessage, _: Reply.Type
  ) async throws(SkeinError) -> Reply {
    let connection = try await unaryConnection.get(connector)
    do {
      let reply = try await connection.unary(
        path: path, message: OutboundMessage(head: request.encoded()),
        deadline: .now() + .nanoseconds(configuration.requestTimeout.nanosecondsClamped))
      return try Reply(decoding: reply, limits: .reply)
    } catch let failure as RPCFailure {
      throw SkeinError(failure.status)
    } catch { throw SkeinError(wrapping: error) }
  }
}

/// The one connection that unary calls share; made when first needed and again after it broke.
actor ConnectionCell {
  private var connection: GRPCConnection?
  private var connecting: Task<Result<GRPCConnection, SkeinError>, Never>?

  func get(_ connector: Connector) async throws(SkeinError) -> GRPCConnection {
    if let connection, connection.isUsable { return connection }
    // Callers that come meanwhile wait for the same attempt.
    let attempt: Task<Result<GRPCConnection, SkeinError>, Never>
    if let connecting {
      attempt = connecting
    } else {
      attempt = Task {
        do throws(SkeinError) { return .success(try await connector.connect()) } catch {
          return .failure(error)
        }
      }
      connecting = attempt
    }
    let result = await attempt.value
    connecting = nil
    connection = try? result.get()
    return try result.get()
  }

  func close() async {
    let last = connection
    connection = nil
    await last?.close()
  }
}
