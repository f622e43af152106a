import NIOCore
import NIOPosix
import SkeinCore
import Transport
import Wire

/// Measures `Producer/Publish`, one record a call, with a fixed number of calls in flight on one
/// connection: what the yardstick's unary mode does, but acknowledged when durable.
///
///     UnaryBench HOST PORT TLS_FOLDER TOPIC RECORDS SIZE IN_FLIGHT
///
/// Prints one JSON object.
@main
enum UnaryBench {
  static func main() async throws {
    let words = Array(CommandLine.arguments.dropFirst())
    guard words.count == 7, let port = Int(words[1]), let records = Int(words[4]), let size = Int(words[5]),
      let inFlight = Int(words[6]), records > 0, size >= 0, inFlight > 0
    else {
      print("usage: UnaryBench HOST PORT TLS_FOLDER TOPIC RECORDS SIZE IN_FLIGHT")
      return
    }
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let tls = words[2]
    let connection = try await GRPCConnection.connect(
      host: words[0], port: port,
      tls: ClientTLS(
        trustRoots: .file(tls + "/ca.pem"), certificateChain: .file(tls + "/admin.pem"),
        privateKey: .file(tls + "/admin.key"), serverName: nil),
      group: group)
    let started = ContinuousClock.now
    let failures = try await run(
      connection, topic: words[3], records: records, size: size, inFlight: inFlight)
    let took = (ContinuousClock.now - started).components
    let seconds = Double(took.seconds) + Double(took.attoseconds) / 1e18
    await connection.close()
    try await group.shutdownGracefully()
    guard failures == 0 else {
      print("\(failures) calls of \(records) failed")
      throw CancellationError()
    }
    print(
      "{\"records\":\(records),\"seconds\":\(seconds),\"records_per_second\":\(Double(records) / seconds)}")
  }

  private static func run(
    _ connection: GRPCConnection, topic: String, records: Int, size: Int, inFlight: Int
  ) async throws -> Int {
    let done = connection.eventLoop.makePromise(of: Int.self)
    connection.eventLoop.execute {
      Pump(connection, topic: topic, records: records, size: size, done: done).start(inFlight)
    }
    return try await done.futureResult.get()
  }
}

/// Keeps calls in flight.
///
/// `@unchecked Sendable`: confined to the connection's event loop.
private final class Pump: @unchecked Sendable {
  private let connection: GRPCConnection
  private let topic: String
  private let done: EventLoopPromise<Int>
  private let block: SharedBytes
  private let size: Int
  private var left: Int
  private var pending: Int
  private var failed = 0

  init(_ connection: GRPCConnection, topic: String, records: Int, size: Int, done: EventLoopPromise<Int>) {
    self.connection = connection
    self.topic = topic
    self.done = done
    self.size = size
    left = records
    pending = records
    var random = SystemRandomNumberGenerator()
    block = SharedBytes((0..<(size + 4096)).map { _ in UInt8.random(in: 0...255, using: &random) })
  }

  func start(_ inFlight: Int) { for _ in 0..<inFlight { next() } }

  private func next() {
    guard left > 0 else { return }
    left -= 1
    let value = SharedBytes(block.storage, offset: (left &* 61) % 4096, count: size)
    let request = PublishRequest(topic: topic, records: [Record(value: value)]).encoded()
    connection.open(path: ProducerMethod.publish) { call in
      Exchange(call, request: OutboundMessage(head: request)) { self.finished($0) }
    }
  }

  private func finished(_ isDurable: Bool) {
    failed += isDurable ? 0 : 1
    pending -= 1
    if pending == 0 { done.succeed(failed) } else { next() }
  }
}

/// One call. Confined to the loop.
private final class Exchange: CallHandler {
  private let call: Call
  private let done: (Bool) -> Void
  private var isAcknowledged = false

  init(_ call: Call, request: OutboundMessage, done: @escaping (Bool) -> Void) {
    self.call = call
    self.done = done
    call.send(request)
    call.sendEnd()
  }

  func received(_ message: SharedBytes) {
    if let reply = try? PublishResponse(decoding: message), reply.results.count == 1,
      reply.results[0].error == nil
    {
      isAcknowledged = true
    }
    call.release(message.count)
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { done(status.code == .ok && isAcknowledged) }
}
