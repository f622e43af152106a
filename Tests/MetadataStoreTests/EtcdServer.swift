import Certificates
import Foundation
import MetadataStore
import NIOCore
import NIOPosix
import SkeinCore
import Testing
import Transport

/// One etcd of Debian's package for all tests of this process: on loopback, with TLS and client
/// certificates, in a folder of its own.
///
/// A shell stands between: it ends etcd, by its pid, as soon as the pipe to this process closes, however
/// this process ends.
actor EtcdServer {
  static let path = "/usr/bin/etcd"
  static let isInstalled = FileManager.default.isExecutableFile(atPath: path)
  private static let shared = Task { try await start() }

  /// Runs `body` on a store with a connection of its own.
  static func withStore(
    configuration: EtcdStore.Configuration = .init(), _ body: (Fixture) async throws -> Void
  ) async throws {
    let store = EtcdStore(connection: try await shared.value.connect(), configuration: configuration)
    let fixture = Fixture(store: store, prefix: "/t/\(UUID())/") { seconds in
      try await Task.sleep(for: .seconds(seconds))
    }
    do {
      try await body(fixture)
    } catch {
      await store.close()
      throw error
    }
    await store.close()
  }

  private let port: Int
  private let tls: ClientTLS
  /// Held open for as long as the server shall live.
  private let leash: Pipe

  private init(port: Int, tls: ClientTLS, leash: Pipe) {
    self.port = port
    self.tls = tls
    self.leash = leash
  }

  func connect() async throws -> GRPCConnection {
    try await GRPCConnection.connect(
      host: "127.0.0.1", port: port, tls: tls, group: MultiThreadedEventLoopGroup.singleton)
  }

  private static func start() async throws -> EtcdServer {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-etcd-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let issuer = try CertificateIssuer(commonName: "etcd test authority")
    let server = try issuer.issue(
      commonName: "etcd", names: ["IP:127.0.0.1", "DNS:localhost"], usage: .server)
    let client = try issuer.issue(
      commonName: "skein", names: ["URI:skein:default/broker"], usage: .client)
    let authority = try issuer.identity.certificate
    for (name, bytes) in [
      ("ca.pem", authority), ("server.pem", server.certificate), ("server.key", server.key),
    ] {
      try Data(bytes).write(to: folder.appendingPathComponent(name))
    }
    let tls = ClientTLS(
      trustRoots: .bytes(authority), certificateChain: .bytes(client.certificate),
      privateKey: .bytes(client.key))
    let (port, peerPort) = (try await freePort(), try await freePort())
    let leash = try launch(in: folder, port: port, peerPort: peerPort)
    let etcd = EtcdServer(port: port, tls: tls, leash: leash)
    try await etcd.waitUntilReady(log: folder.appendingPathComponent("log"))
    return etcd
  }

  private static func launch(in folder: URL, port: Int, peerPort: Int) throws -> Pipe {
    let client = "https://127.0.0.1:\(port)"
    let peer = "http://127.0.0.1:\(peerPort)"
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.currentDirectoryURL = folder
    process.arguments = [
      "-c", #""$@" >log 2>&1 & pid=$!; cat >/dev/null; kill $pid; wait $pid; rm -rf "$PWD""#, "sh",
      path, "--data-dir", "data", "--listen-client-urls", client, "--advertise-client-urls", client,
      "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster",
      "default=\(peer)", "--client-cert-auth", "--trusted-ca-file", "ca.pem", "--cert-file",
      "server.pem", "--key-file", "server.key", "--enable-grpc-gateway=false",
    ]
    let leash = Pipe()
    process.standardInput = leash
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    return leash
  }

  /// Connects and asks until etcd has elected itself.
  private func waitUntilReady(log: URL) async throws {
    var last: (any Error)?
    for _ in 0..<100 {
      do {
        let store = EtcdStore(connection: try await connect())
        _ = try await store.range(RangeRequest(.key("/ready")))
        await store.close()
        return
      } catch {
        last = error
        try await Task.sleep(for: .milliseconds(100))
      }
    }
    let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
    Issue.record("etcd did not start: \(String(describing: last))\n\(text.suffix(2_000))")
    throw CancellationError()
  }

  /// A port of loopback that was free a moment ago.
  private static func freePort() async throws -> Int {
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .bind(host: "127.0.0.1", port: 0).get()
    let port = channel.localAddress?.port ?? 0
    try await channel.close().get()
    return port
  }
}
