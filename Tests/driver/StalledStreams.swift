import NIOCore
import NIOPosix
import SkeinCore
import Synchronization
import Transport
import Wire

/// Streams of one kind whose client never takes a message: each stands at its HTTP/2 window. Beside them one
/// Read stream that granted a single message, and takes all it gets.
struct StalledStreams {
  /// What the streams do.
  enum Kind: String, CaseIterable {
    /// Read with boundless credit.
    case read
    /// PublishStream that sends batches, all of them refused, and takes no acknowledgement.
    case publish
    case watchCluster = "watch-cluster"
    case watchHealth = "watch-health"
  }

  /// Streams of one connection.
  private static let perConnection = 100

  let host: String
  let port: Int
  let tls: String
  let topic: String
  let kind: Kind

  /// Opens them, holds them for so many seconds, and prints what arrived.
  func run(streams: Int, seconds: Int) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    var connections: [GRPCConnection] = []
    var stalled: [StalledStream] = []
    for first in stride(from: 0, to: streams, by: Self.perConnection) {
      let connection = try await connect(group)
      connections.append(connection)
      for _ in first..<min(streams, first + Self.perConnection) {
        stalled.append(open(connection))
      }
    }
    let other = try await connect(group)
    connections.append(other)
    let frugal = StalledStream(takes: true, flood: nil)
    begin(frugal, on: other, ConsumerMethod.read, read(messages: 1))
    try await Task.sleep(for: .seconds(seconds))
    let open = stalled.count { $0.isOpen }
    let refused = stalled.reduce(0) { $0 + $1.errors }
    let sent = stalled.reduce(0) { $0 + $1.sentMessages }
    print(
      "{\"kind\":\"\(kind.rawValue)\",\"streams\":\(streams),\"still_open\":\(open),\"errors\":\(refused),\"sent\":\(sent),"
        + "\"that_got_messages\":\(stalled.count { $0.messages > 0 }),\"batches_for_one_credit\":\(frugal.batches)}"
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

  private func open(_ connection: GRPCConnection) -> StalledStream {
    switch kind {
    case .read:
      let stream = StalledStream(takes: false, flood: nil)
      begin(stream, on: connection, ConsumerMethod.read, read(messages: .max))
      return stream
    case .publish:
      let refused = PublishStreamRequest(
        target: BatchTarget(requestID: 1, topic: topic, partition: 0), batch: SharedBytes([0x5a]))
      let stream = StalledStream(takes: false, flood: refused.encoded())
      begin(
        stream, on: connection, ProducerMethod.publishStream,
        PublishStreamRequest(open: PublishOpen()).encoded())
      return stream
    case .watchCluster:
      let stream = StalledStream(takes: false, flood: nil)
      begin(stream, on: connection, ClusterMethod.watch, WatchClusterRequest().encoded(), ends: true)
      return stream
    case .watchHealth:
      let stream = StalledStream(takes: false, flood: nil)
      begin(stream, on: connection, HealthMethod.watch, HealthCheckRequest().encoded(), ends: true)
      return stream
    }
  }

  private func read(messages: UInt64) -> [UInt8] {
    ReadRequest(
      open: ReadOpen(partitions: [FetchPartition(topic: topic, partition: 0, offset: 0)]),
      credit: ReadCredit(messages: messages, bytes: .max)
    ).encoded()
  }

  private func begin(
    _ stream: StalledStream, on connection: GRPCConnection, _ path: String, _ request: [UInt8],
    ends: Bool = false
  ) {
    connection.eventLoop.execute {
      connection.open(path: path) { call in
        stream.begin(call, OutboundMessage(head: request), ends: ends)
        return stream
      }
    }
  }
}

/// One stream. Threading: callbacks on the connection's loop, counts from any thread.
///
/// `@unchecked Sendable`: `call` is touched on the connection's loop only.
private final class StalledStream: CallHandler, @unchecked Sendable {
  private let takes: Bool
  /// Sent again and again, once the stream is open, while the peer takes it.
  private let flood: [UInt8]?
  private let received = Atomic<Int>(0)
  private let counted = Atomic<Int>(0)
  private let refused = Atomic<Int>(0)
  private let sent = Atomic<Int>(0)
  private let ended = Atomic<Bool>(false)
  private var call: Call?
  private var isWaiting = false

  init(takes: Bool, flood: [UInt8]?) {
    self.takes = takes
    self.flood = flood
  }

  /// Messages of any kind.
  var messages: Int { received.load(ordering: .relaxed) }
  var batches: Int { counted.load(ordering: .relaxed) }
  var errors: Int { refused.load(ordering: .relaxed) }
  var sentMessages: Int { sent.load(ordering: .relaxed) }
  var isOpen: Bool { !ended.load(ordering: .relaxed) }

  func begin(_ call: Call, _ request: OutboundMessage, ends: Bool) {
    self.call = call
    call.send(request)
    if ends { call.sendEnd() }
  }

  func received(_ message: SharedBytes) {
    received.add(1, ordering: .relaxed)
    if flood == nil, let response = try? ReadResponse(decoding: message) {
      if response.read != nil { counted.add(1, ordering: .relaxed) }
      if response.error != nil { refused.add(1, ordering: .relaxed) }
    }
    if takes { call?.release(message.count) }
    pour()
  }

  func writable() { pour() }

  /// Few at a time, so that a thousand streams share the broker with those that have work to do.
  private func pour() {
    guard let call, let flood, messages > 0, !isWaiting else { return }
    var left = 8
    while left > 0, call.isWritable {
      call.send(OutboundMessage(head: flood))
      sent.add(1, ordering: .relaxed)
      left -= 1
    }
    if left == 0, !isWaiting {
      isWaiting = true
      call.eventLoop.scheduleTask(in: .milliseconds(20)) {
        self.isWaiting = false
        self.pour()
      }
    }
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    ended.store(true, ordering: .relaxed)
    call = nil
  }
}
