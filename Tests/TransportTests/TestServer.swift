import NIOCore
import NIOPosix
import SkeinCore
import Synchronization

@testable import Transport

/// A server with a handful of methods, on a port of the system's choice.
struct TestServer {
  let server: GRPCServer
  let port: Int
  let events: EventLog
  let calls: CallLog

  static let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)

  static func start(
    tls: ServerTLS = TestCertificates.shared.server(), limits: TransportLimits = TransportLimits(),
    budget: MemoryBudget? = nil, port: Int = 0,
    _ change: (inout ServerConfiguration) -> Void = { _ in }
  ) async throws -> TestServer {
    let events = EventLog()
    let calls = CallLog()
    var configuration = ServerConfiguration(tls: tls, limits: limits, budget: budget) { events.add($0) }
    change(&configuration)
    let server = try GRPCServer(configuration: configuration, group: group) { call in route(call, calls) }
    let port = try await server.bind(host: "127.0.0.1", port: port)
    return TestServer(server: server, port: port, events: events, calls: calls)
  }

  func connect(
    tls: ClientTLS = TestCertificates.shared.client(), limits: TransportLimits = TransportLimits(),
    host: String = "localhost", deadline: NIODeadline = .now() + .seconds(10)
  ) async throws -> GRPCConnection {
    try await GRPCConnection.connect(
      host: host, port: port, tls: tls, limits: limits, group: Self.group, deadline: deadline)
  }

  static func route(_ call: Call, _ log: CallLog) -> (any CallHandler)? {
    switch call.path {
    case "/t.T/Echo": EchoHandler(call, log)
    case "/t.T/Gzip": GzipHandler(call, log)
    case "/t.T/Batch": BatchHandler(call, log)
    case "/t.T/Count": CountHandler(call, log)
    case "/t.T/Hold": HoldHandler(call, log)
    case "/t.T/Polite": PoliteHandler(call)
    case "/t.T/Flood": FloodHandler(call, log)
    case "/t.T/Fail": FailHandler(call, log)
    case "/t.T/Meta": MetaHandler(call, log)
    default: nil
    }
  }
}

/// Transport events, from any loop.
final class EventLog: Sendable {
  private let events = Mutex<[TransportEvent]>([])
  func add(_ event: TransportEvent) { events.withLock { $0.append(event) } }
  var all: [TransportEvent] { events.withLock { $0 } }
}

/// What handlers saw, from any loop.
final class CallLog: Sendable {
  struct Entry: Sendable {
    var path: String
    var status: GRPCStatus
  }
  private let entries = Mutex<[Entry]>([])
  private let received = Mutex<Int>(0)
  private let queued = Mutex<Int>(0)

  func closed(_ path: String, _ status: GRPCStatus) {
    entries.withLock { $0.append(Entry(path: path, status: status)) }
  }
  func got(_ bytes: Int) { received.withLock { $0 += bytes } }
  func queue(_ bytes: Int) { queued.withLock { $0 = max($0, bytes) } }
  private let flags = Mutex<[Bool]>([])
  func flag(_ isCompressed: Bool) { flags.withLock { $0.append(isCompressed) } }
  var compressed: [Bool] { flags.withLock { $0 } }
  private let hints = Mutex<Int>(0)
  func ask() { hints.withLock { $0 += 1 } }
  var asked: Int { hints.withLock { $0 } }
  var ends: [Entry] { entries.withLock { $0 } }
  var receivedBytes: Int { received.withLock { $0 } }
  var mostQueued: Int { queued.withLock { $0 } }
}

/// Sends each message back.
final class EchoHandler: CallHandler {
  let call: Call
  let log: CallLog
  init(_ call: Call, _ log: CallLog) {
    self.call = call
    self.log = log
  }
  func received(_ message: SharedBytes) {
    log.got(message.count)
    call.send(OutboundMessage(message))
    call.release(message.count)
  }
  func receivedEnd() { call.finish(.ok) }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) { log.closed(call.path, status) }
}

/// Sends each message back, compressed where the client accepts it.
final class GzipHandler: CallHandler {
  let call: Call
  let log: CallLog
  init(_ call: Call, _ log: CallLog) {
    self.call = call
    self.log = log
    call.compressWithGzip()
  }
  func received(_ message: SharedBytes) {
    log.flag(call.receivedCompressed)
    call.send(OutboundMessage(message))
    call.release(message.count)
  }
  func receivedEnd() { call.finish(.ok) }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) { log.closed(call.path, status) }
}

/// Sends messages back, but only at the end of a socket read, and holds them until then.
final class BatchHandler: CallHandler {
  let call: Call
  let log: CallLog
  var held: [SharedBytes] = []
  init(_ call: Call, _ log: CallLog) {
    self.call = call
    self.log = log
  }
  func received(_ message: SharedBytes) { held.append(message) }
  func readIdle() {
    for message in held {
      call.send(OutboundMessage(message))
      call.release(message.count)
    }
    held = []
  }
  func receivedEnd() {
    readIdle()
    call.finish(.ok)
  }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) { log.closed(call.path, status) }
}

/// Counts the messages of a client stream and answers with their number and bytes.
final class CountHandler: CallHandler {
  let call: Call
  let log: CallLog
  var messages = 0
  var bytes = 0
  init(_ call: Call, _ log: CallLog) {
    self.call = call
    self.log = log
  }
  func received(_ message: SharedBytes) {
    messages += 1
    bytes += message.count
    call.release(message.count)
  }
  func receivedEnd() {
    call.send(OutboundMessage(head: Array("\(messages) \(bytes)".utf8)))
    call.finish(.ok)
  }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) { log.closed(call.path, status) }
}

/// Never releases, never answers.
final class HoldHandler: CallHandler {
  let call: Call
  let log: CallLog
  init(_ call: Call, _ log: CallLog) {
    self.call = call
    self.log = log
  }
  func received(_ message: SharedBytes) { log.got(message.count) }
  func shouldEnd(by deadline: NIODeadline) { log.ask() }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) { log.closed(call.path, status) }
}

/// Ends when it is asked to.
final class PoliteHandler: CallHandler {
  let call: Call
  init(_ call: Call) { self.call = call }
  func received(_ message: SharedBytes) {}
  func shouldEnd(by deadline: NIODeadline) { call.finish(.ok) }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) {}
}

/// A server stream: the request is "COUNT SIZE".
final class FloodHandler: CallHandler {
  let call: Call
  let log: CallLog
  var left = 0
  var payload = SharedBytes.empty
  init(_ call: Call, _ log: CallLog) {
    self.call = call
    self.log = log
  }
  func received(_ message: SharedBytes) {
    let words = String(decoding: message.array, as: UTF8.self).split(separator: " ").compactMap { Int($0) }
    call.release(message.count)
    left = words[0]
    payload = SharedBytes([UInt8](repeating: 7, count: words[1]))
    writable()
  }
  func writable() {
    while left > 0, call.isWritable {
      left -= 1
      call.send(OutboundMessage(payload))
    }
    log.queue(call.queuedBytes)
    if left == 0 { call.finish(.ok) }
  }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) { log.closed(call.path, status) }
}

/// Ends with an error that has details and trailers.
final class FailHandler: CallHandler {
  let call: Call
  init(_ call: Call, _ log: CallLog) {
    self.call = call
    call.finish(
      GRPCStatus(.failedPrecondition, "100% wr\u{f6}ng\n", details: [8, 9, 0, 255]),
      trailers: ["x-why": "test"])
  }
  func received(_ message: SharedBytes) {}
  func closed(_ status: GRPCStatus, _ trailers: Metadata) {}
}

/// Sends the request's metadata back as initial metadata and as trailers.
final class MetaHandler: CallHandler {
  let call: Call
  init(_ call: Call, _ log: CallLog) {
    self.call = call
    call.sendHeaders(call.metadata)
  }
  func received(_ message: SharedBytes) {
    call.release(message.count)
    call.send(OutboundMessage(message))
  }
  func receivedEnd() { call.finish(.ok, trailers: call.metadata) }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) {}
}
