import Glibc
import NIOCore
import NIOPosix
import SkeinCore
import Transport

/// Either end of the gRPC conformance table, on our transport; Tests/interop/conformance has the other end.
///
///     ConformancePeer server TLS_FOLDER                      serves TestService until its input ends
///     ConformancePeer client CASE PORT TLS_FOLDER            goes through a case of `ClientCases`
///     ConformancePeer call PATH PORT TLS_FOLDER [MS [gzip]]  one call with one message; prints its end
///
/// The folder has ca.pem, server.pem, server.key, client.pem and client.key. Exit code 1: a check did not hold.
@main
enum ConformancePeer {
  static func main() async throws {
    let words = Array(CommandLine.arguments.dropFirst())
    switch words.first {
    case "server" where words.count == 2: try await Peer.serve(words[1])
    case "client" where words.count == 4: await Peer.run(words[1], Int(words[2]) ?? 0, words[3])
    case "call" where words.count >= 4:
      try await Peer.call(
        words[1], Int(words[2]) ?? 0, words[3], words.count > 4 ? Int64(words[4]) : nil,
        compresses: words.last == "gzip")
    case "cases": ClientCases.all.keys.sorted().forEach { print($0) }
    default:
      print(
        "usage: ConformancePeer server FOLDER | client CASE PORT FOLDER | call PATH PORT FOLDER [MS [gzip]] | cases"
      )
      exit(2)
    }
  }
}

enum Peer {
  /// Smaller than the default, so that the tests at the limit are quick.
  static let clientMessageLimit = 1 << 20
  static let serverMessageLimit = 4 << 20
  static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

  static func serve(_ folder: String) async throws {
    var limits = TransportLimits()
    limits.maxMessageBytes = serverMessageLimit
    let server = try GRPCServer(
      configuration: ServerConfiguration(
        tls: ServerTLS(
          certificateChain: .file(folder + "/server.pem"), privateKey: .file(folder + "/server.key"),
          clientAuthorities: .file(folder + "/ca.pem")), limits: limits
      ) { say("event \($0)") },
      group: group, router: TestService.route)
    say("ready port=\(try await server.bind(host: "127.0.0.1", port: 0))")
    while readLine() != nil {}
    await server.close()
  }

  static func run(_ name: String, _ port: Int, _ folder: String) async {
    guard let body = ClientCases.all[name] else {
      say("no case \(name)")
      exit(2)
    }
    do {
      let connection = try await connect(port, folder)
      try await body(ClientCases(connection: connection))
      await connection.close()
      say("ok \(name)")
    } catch {
      say("failed \(name): \(error)")
      exit(1)
    }
  }

  /// Prints `code=N`, `message=…` and each trailer; what the server sent is for the test to judge.
  /// The message is empty, or 1,000 zeros with gzip.
  static func call(
    _ path: String, _ port: Int, _ folder: String, _ milliseconds: Int64?, compresses: Bool
  ) async throws {
    let connection = try await connect(port, folder)
    let call = Conversation(
      connection, path, deadline: .now() + .milliseconds(milliseconds ?? 20_000), compresses: compresses)
    call.send(compresses ? [UInt8](repeating: 0, count: 1000) : [])
    call.end()
    let (messages, end) = await call.rest()
    say("code=\(end.status.code.rawValue)")
    say("message=\(end.status.message)")
    say("messages=\(messages.count)")
    say("sizes=\(messages.map(\.count))")
    say("compressed=\(end.compressed)")
    say("unprocessed=\(end.status.isDefinitelyUnprocessed)")
    for entry in end.trailers.entries { say("trailer \(entry.name)=\(entry.value)") }
    await connection.close()
  }

  private static func connect(_ port: Int, _ folder: String) async throws -> GRPCConnection {
    var limits = TransportLimits()
    limits.maxMessageBytes = clientMessageLimit
    return try await GRPCConnection.connect(
      host: "localhost", port: port,
      tls: ClientTLS(
        trustRoots: .file(folder + "/ca.pem"), certificateChain: .file(folder + "/client.pem"),
        privateKey: .file(folder + "/client.key")),
      limits: limits, group: group)
  }

  /// A line, at once: the other end waits for it. Not through stdio, whose flush would wait for `readLine`.
  private static func say(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
  }
}
