import Certificates
import MetadataStore
import NIOCore
import NIOPosix
import SkeinCore
import Transport

/// A server on loopback that answers etcd's calls as a test wants: for what a real etcd does too rarely.
final class FakeEtcd: Sendable {
  let store: EtcdStore
  private let server: GRPCServer

  /// - Parameter answer: runs on the server's loop for each message of a call.
  init(
    callTimeout: TimeAmount = .seconds(5),
    _ answer: @escaping @Sendable (_ call: Call, _ message: SharedBytes) -> Void
  ) async throws {
    let issuer = try CertificateIssuer(commonName: "test authority")
    let own = try issuer.issue(commonName: "fake", names: ["IP:127.0.0.1"], usage: .server)
    let client = try issuer.issue(commonName: "x", names: ["URI:skein:default/x"], usage: .client)
    let authority = try issuer.identity.certificate
    let tls = ServerTLS(
      certificateChain: .bytes(own.certificate), privateKey: .bytes(own.key),
      clientAuthorities: .bytes(authority))
    let group = MultiThreadedEventLoopGroup.singleton
    server = try GRPCServer(configuration: ServerConfiguration(tls: tls), group: group) { call in
      Handler(call, answer)
    }
    let connection = try await GRPCConnection.connect(
      host: "127.0.0.1", port: try await server.bind(host: "127.0.0.1", port: 0),
      tls: ClientTLS(
        trustRoots: .bytes(authority), certificateChain: .bytes(client.certificate),
        privateKey: .bytes(client.key)), group: group)
    var configuration = EtcdStore.Configuration()
    configuration.callTimeout = callTimeout
    store = EtcdStore(connection: connection, configuration: configuration)
  }

  /// Cuts all connections.
  func stop() async { await server.close() }

  func close() async {
    await store.close()
    await stop()
  }

  private final class Handler: CallHandler {
    private let call: Call
    private let answer: @Sendable (Call, SharedBytes) -> Void

    init(_ call: Call, _ answer: @escaping @Sendable (Call, SharedBytes) -> Void) {
      self.call = call
      self.answer = answer
    }

    func received(_ message: SharedBytes) {
      call.release(message.count)
      answer(call, message)
    }
    func closed(_ status: GRPCStatus, _ trailers: Metadata) {}
    /// The test's answer goes on where it stopped.
    func writable() { answer(call, .empty) }
  }
}
