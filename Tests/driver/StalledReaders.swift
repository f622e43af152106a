import NIOCore
import NIOPosix
import SkeinCore
import Synchronization
import Transport
import Wire

/// Read streams with boundless credit whose client never takes a message: each stands at its HTTP/2 window.
/// Beside them one stream that granted a single message, and takes all it gets.
struct StalledReaders {
  /// Streams of one connection.
  private static let perConnection = 100

  let host: String
  let port: Int
  let tls: String
  let topic: String

  /// Opens them, holds them for so many seconds, and prints what arrived.
  func run(streams: Int, seconds: Int) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    var connections: [GRPCConnection] = []
    var stalled: [StalledReader] = []
    for first in stride(from: 0, to: streams, by: Self.perConnection) {
      let connection = try await connect(group)
      connections.append(connection)
      for _ in first..<min(streams, first + Self.perConnection) {
        stalled.append(open(connection, messages: .max, takes: false))
      }
    }
    let other = try await connect(group)
    connections.append(other)
    let frugal = open(other, messages: 1, takes: true)
    try await Task.sleep(for: .seconds(seconds))
    let open = stalled.count { $0.isOpen }
    let refused = stalled.reduce(0) { $0 + $1.errors }
    print(
      "{\"streams\":\(streams),\"still_open\":\(open),\"errors\":\(refused),\"that_got_messages\":\(stalled.count { $0.batches > 0 }),\"batches_for_one_credit\":\(frugal.batches)}"
    )
    for connection in connections { await connection.close() }
    try await group.shutdownGracefully()
  }

  private func connect(_ group: MultiThreadedEventLoopGroup) async throws -> GRPCConnection {
    var limits = TransportLimits()
    limits.streamWindowBytes = 65_535
    return try await GRPCConnection.connect(
      host: host, port: port, tls: .administrator(tls), limits: limits, group: group)
  }

  private func open(_ connection: GRPCConnection, messages: UInt64, takes: Bool) -> StalledReader {
    let reader = StalledReader(takes: takes)
    let request = ReadRequest(
      open: ReadOpen(partitions: [FetchPartition(topic: topic, partition: 0, offset: 0)]),
      credit: ReadCredit(messages: messages, bytes: .max))
    connection.eventLoop.execute {
      connection.open(path: ConsumerMethod.read) { call in
        reader.begin(call, OutboundMessage(head: request.encoded()))
        return reader
      }
    }
    return reader
  }
}

/// One stream. Threading: callbacks on the connection's loop, counts from any thread.
///
/// `@unchecked Sendable`: `call` is touched on the connection's loop only.
private final class StalledReader: CallHandler, @unchecked Sendable {
  private let takes: Bool
  private let counted = Atomic<Int>(0)
  private let refused = Atomic<Int>(0)
  private let ended = Atomic<Bool>(false)
  private var call: Call?

  init(takes: Bool) { self.takes = takes }

  var batches: Int { counted.load(ordering: .relaxed) }
  var errors: Int { refused.load(ordering: .relaxed) }
  var isOpen: Bool { !ended.load(ordering: .relaxed) }

  func begin(_ call: Call, _ request: OutboundMessage) {
    self.call = call
    call.send(request)
  }

  func received(_ message: SharedBytes) {
    if let response = try? ReadResponse(decoding: message) {
      if response.read != nil { counted.add(1, ordering: .relaxed) }
      if response.error != nil { refused.add(1, ordering: .relaxed) }
    }
    if takes { call?.release(message.count) }
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    ended.store(true, ordering: .relaxed)
    call = nil
  }
}
