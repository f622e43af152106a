import NIOCore
import NIOPosix
import SkeinCore
import Transport
import Wire

/// Unary calls with a fixed number of them in flight on one connection.
///
///     CallDriver HOST PORT TLS_FOLDER publish CALLS IN_FLIGHT TOPIC SIZE
///     CallDriver HOST PORT TLS_FOLDER refusals CALLS IN_FLIGHT TOPIC
///     CallDriver HOST PORT TLS_FOLDER stalled STREAMS SECONDS TOPIC KIND
///     CallDriver HOST PORT TLS_FOLDER commits CALLS IN_FLIGHT TOPIC OFFSETS
///     CallDriver HOST PORT TLS_FOLDER members GROUPS SECONDS TOPIC MEMBERS
///
/// `publish` is what the yardstick's unary mode does, but acknowledged when durable. `refusals` sends bad
/// input of every kind, all of which must be refused. `stalled` opens streams of a kind (read, publish, watch-cluster, watch-health) and never takes what they give.
/// `commits` commits offsets durably, several a call. `members` is many groups with a few members each. Prints JSON objects.
@main
enum CallDriver {
  static let usage =
    "usage: CallDriver HOST PORT TLS_FOLDER publish|refusals|stalled|commits|members COUNT NUMBER TOPIC [SIZE|KIND|OFFSETS|MEMBERS]"

  static func main() async throws {
    let words = Array(CommandLine.arguments.dropFirst())
    guard words.count >= 7, let port = Int(words[1]), let calls = Int(words[4]), let inFlight = Int(words[5]),
      calls > 0, inFlight > 0
    else { return print(usage) }
    let workload: any Workload
    switch words[3] {
    case "publish":
      guard words.count == 8, let size = Int(words[7]), size >= 0 else { return print(usage) }
      workload = Publishing(topic: words[6], size: size)
    case "stalled":
      guard words.count == 8, let kind = StalledStreams.Kind(rawValue: words[7]) else { return print(usage) }
      return try await StalledStreams(host: words[0], port: port, tls: words[2], topic: words[6], kind: kind)
        .run(streams: calls, seconds: inFlight)
    case "commits":
      guard words.count == 8, let offsets = Int(words[7]), (1...10_000).contains(offsets) else {
        return print(usage)
      }
      workload = Committing(topic: words[6], offsets: offsets)
    case "members":
      guard words.count == 8, let members = Int(words[7]), members > 0 else { return print(usage) }
      return try await GroupMembers(
        host: words[0], port: port, tls: words[2], topic: words[6], members: members
      )
      .run(groups: calls, seconds: inFlight)
    case "refusals": workload = Refusals(topic: words[6])
    default: return print(usage)
    }
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let connection = try await GRPCConnection.connect(
      host: words[0], port: port, tls: .administrator(words[2]), group: group)
    let started = ContinuousClock.now
    let failures = try await run(connection, workload, calls: calls, inFlight: inFlight)
    let took = (ContinuousClock.now - started).components
    let seconds = Double(took.seconds) + Double(took.attoseconds) / 1e18
    await connection.close()
    try await group.shutdownGracefully()
    guard failures == 0 else {
      print("\(failures) calls of \(calls) did not end as they should")
      throw CancellationError()
    }
    print("{\"calls\":\(calls),\"seconds\":\(seconds),\"calls_per_second\":\(Double(calls) / seconds)}")
  }

  private static func run(
    _ connection: GRPCConnection, _ workload: any Workload, calls: Int, inFlight: Int
  ) async throws -> Int {
    let done = connection.eventLoop.makePromise(of: Int.self)
    connection.eventLoop.execute {
      Pump(connection, workload, calls: calls, done: done).start(inFlight)
    }
    return try await done.futureResult.get()
  }
}

/// What is called, and which end of a call is the right one.
protocol Workload: Sendable {
  func call(_ number: Int) -> (path: String, message: [UInt8])
  /// - Parameter reply: nil if none came.
  func isExpected(_ number: Int, _ status: GRPCStatus, reply: SharedBytes?) -> Bool
}

/// Keeps calls in flight.
///
/// `@unchecked Sendable`: confined to the connection's event loop.
private final class Pump: @unchecked Sendable {
  private let connection: GRPCConnection
  private let workload: any Workload
  private let done: EventLoopPromise<Int>
  private let calls: Int
  private var begun = 0
  private var pending: Int
  private var failed = 0

  init(_ connection: GRPCConnection, _ workload: any Workload, calls: Int, done: EventLoopPromise<Int>) {
    self.connection = connection
    self.workload = workload
    self.calls = calls
    self.done = done
    pending = calls
  }

  func start(_ inFlight: Int) { for _ in 0..<inFlight { next() } }

  private func next() {
    guard begun < calls else { return }
    let number = begun
    begun += 1
    let (path, message) = workload.call(number)
    connection.open(path: path) { call in
      Exchange(call, request: OutboundMessage(head: message)) { status, reply in
        self.finished(self.workload.isExpected(number, status, reply: reply))
      }
    }
  }

  private func finished(_ isExpected: Bool) {
    failed += isExpected ? 0 : 1
    pending -= 1
    if pending == 0 { done.succeed(failed) } else { next() }
  }
}

/// One call. Confined to the loop.
private final class Exchange: CallHandler {
  private let call: Call
  private let done: (GRPCStatus, SharedBytes?) -> Void
  private var reply: SharedBytes?

  init(_ call: Call, request: OutboundMessage, done: @escaping (GRPCStatus, SharedBytes?) -> Void) {
    self.call = call
    self.done = done
    call.send(request)
    call.sendEnd()
  }

  func received(_ message: SharedBytes) {
    reply = message
    call.release(message.count)
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { done(status, reply) }
}

extension ClientTLS {
  /// The administrator's identity in a folder that `skeind --dev` made.
  static func administrator(_ folder: String) -> ClientTLS {
    ClientTLS(
      trustRoots: .file(folder + "/ca.pem"), certificateChain: .file(folder + "/admin.pem"),
      privateKey: .file(folder + "/admin.key"), serverName: nil)
  }
}
