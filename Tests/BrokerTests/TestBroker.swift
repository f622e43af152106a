import Certificates
import Foundation
import Logging
import NIOCore
import NIOPosix
import SkeinCore
import Transport
import Wire

@testable import Broker

/// A real broker in the test process: own folder, own certificates, free ports, own event loops.
final class TestBroker: Sendable {
  let broker: Broker
  let folder: URL
  let issuer: TestIdentities
  private let running: Task<Void, Never>
  private let drainCount: Counter

  /// How often a client's drain reached the owner.
  var drains: Int { drainCount.value }

  private init(_ broker: Broker, _ folder: URL, _ issuer: TestIdentities, _ drains: Counter) {
    self.broker = broker
    self.drainCount = drains
    self.folder = folder
    self.issuer = issuer
    self.running = Task { await broker.run() }
  }

  /// Starts a broker, on the data of an earlier one if `folder` is given.
  static func start(
    folder: URL? = nil, identities: TestIdentities? = nil, logs: LogRecorder.Lines? = nil,
    configure: (inout BrokerConfiguration) -> Void = { _ in }
  ) async throws -> TestBroker {
    let isOurs = folder == nil
    let folder =
      folder
      ?? FileManager.default.temporaryDirectory.appendingPathComponent("skein-\(UUID().uuidString)")
    try FileManager.default.createDirectory(
      at: folder.appendingPathComponent("data"), withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
    let identities = try identities ?? TestIdentities()
    var configuration = BrokerConfiguration(
      dataDirectory: folder.appendingPathComponent("data").path, tls: identities.serverTLS)
    configuration.port = 0
    configuration.operationsPort = 0
    configuration.eventLoops = 2
    configuration.journalBytes = 64 << 20
    configuration.diskReserveBytes = 64 << 20
    configuration.drainMilliseconds = 2_000
    configure(&configuration)
    var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    logger.logLevel = .critical
    if let logs { logger = Logger(label: "test") { _ in LogRecorder(logs) } }
    let drains = Counter()
    do {
      let broker = try await Broker.start(
        configuration, time: SystemTime(), random: SystemRandom(), logger: logger,
        onDrain: { drains.add(1) })
      return TestBroker(broker, folder, identities, drains)
    } catch {
      if isOurs { try? FileManager.default.removeItem(at: folder) }
      throw error
    }
  }

  var host: String { "127.0.0.1" }
  var port: Int { Int(broker.address.split(separator: ":").last ?? "0") ?? 0 }
  var tokenPort: Int { Int(broker.tokenAddress?.split(separator: ":").last ?? "0") ?? 0 }
  var operationsPort: Int { Int(broker.operationsAddress.split(separator: ":").last ?? "0") ?? 0 }

  /// Stops the broker cleanly; its folder stays for another start.
  func stop() async {
    await broker.stop()
    await running.value
  }

  /// Ends it as SIGKILL would; its folder stays for another start.
  func kill() async {
    await broker.kill()
    await running.value
  }

  func remove() async {
    await stop()
    try? FileManager.default.removeItem(at: folder)
  }

  /// A connection of the administrator, or of whom `identity` says.
  func connect(_ identity: ClientTLS? = nil) async throws -> GRPCConnection {
    try await GRPCConnection.connect(
      host: host, port: port, tls: try identity ?? issuer.client("admin"),
      group: MultiThreadedEventLoopGroup.singleton)
  }
}

/// Certificates for one test.
struct TestIdentities: Sendable {
  private let authority: CertificateIssuer.Identity
  private let server: CertificateIssuer.Identity
  private let clients: [String: CertificateIssuer.Identity]

  init() throws {
    let issuer = try CertificateIssuer(commonName: "test CA")
    authority = try issuer.identity
    server = try issuer.issue(
      commonName: "localhost", names: ["DNS:localhost", "IP:127.0.0.1"], usage: .server)
    let names = [
      "admin": "URI:skein:default/admin", "stranger": "DNS:nobody", "other": "URI:skein:other/admin",
      "system": "URI:skein:system/admin",
    ]
    clients = try names.mapValues { try issuer.issue(commonName: "x", names: [$0], usage: .client) }
  }

  var serverTLS: ServerTLS {
    ServerTLS(
      certificateChain: .bytes(server.certificate), privateKey: .bytes(server.key),
      clientAuthorities: .bytes(authority.certificate))
  }

  var trustRoots: PEMSource { .bytes(authority.certificate) }

  /// - Parameter name: `admin`; `other` and `system` for principals of those tenants; anybody else has no principal.
  func client(_ name: String) throws -> ClientTLS {
    guard let identity = clients[name] ?? clients["stranger"] else { throw CancellationError() }
    return ClientTLS(
      trustRoots: trustRoots, certificateChain: .bytes(identity.certificate),
      privateKey: .bytes(identity.key))
  }
}

extension GRPCConnection {
  /// One unary call; throws the `Fault` of the reply.
  func call<Request: WireMessage, Response: WireMessage>(
    _ path: String, _ request: Request, as response: Response.Type = Response.self,
    deadline: TimeAmount = .seconds(20), metadata: Metadata = Metadata()
  ) async throws -> Response {
    do {
      let reply = try await unary(
        path: path, message: OutboundMessage(head: request.encoded()), metadata: metadata,
        deadline: .now() + deadline)
      return try Response(decoding: reply, limits: .reply)
    } catch let failure as RPCFailure {
      throw Fault(
        statusMessage: failure.status.details, code: failure.status.code,
        message: failure.status.message)
    }
  }
}

/// The fault that `body` throws; fails the caller's expectation with nil when it throws none.
func fault(of body: () async throws -> Void) async -> Fault? {
  do {
    try await body()
    return nil
  } catch {
    return error as? Fault
  }
}
