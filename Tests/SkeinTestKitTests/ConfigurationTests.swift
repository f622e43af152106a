import Configuration
import Foundation
import SkeinClient
import SkeinTestKit
import Testing

/// Configuration by swift-configuration, and identities that change.
@Suite(.timeLimit(.minutes(1))) struct ConfigurationTests {
  private func files(_ identity: TLSIdentity, in folder: URL) throws {
    for (name, pem) in [("ca.pem", identity.ca), ("me.pem", identity.certificate), ("me.key", identity.key)] {
      guard case .bytes(let bytes) = pem else { continue }
      try Data(bytes).write(to: folder.appendingPathComponent(name), options: .atomic)
    }
  }

  private func folder() throws -> URL {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(
      "skein-config-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
    return url
  }

  @Test func aClientFromEnvironmentAndDefaults() async throws {
    try await TestBroker.run { broker, _ in
      let folder = try folder()
      defer { try? FileManager.default.removeItem(at: folder) }
      try files(try broker.identity(principal: "billing"), in: folder)
      let config = ConfigReader(providers: [
        EnvironmentVariablesProvider(environmentVariables: [
          "SKEIN_SERVERS": "127.0.0.1:1,\(broker.address)", "SKEIN_TLS_CA": folder.path + "/ca.pem",
          "SKEIN_TLS_CERTIFICATE": folder.path + "/me.pem", "SKEIN_TLS_KEY": folder.path + "/me.key",
          "SKEIN_REQUEST_TIMEOUT_MS": "7000", "SKEIN_PRODUCER_COMPRESSION": "zstd",
        ]),
        InMemoryProvider(values: [
          "skein.producer.linger-ms": 3, "skein.reader.buffer-bytes": 4096, "skein.wait-for-ready": true,
        ]),
      ])
      let configuration = try ClientConfiguration(config: config)
      #expect(configuration.requestTimeout == .seconds(7) && configuration.connectTimeout == .seconds(10))
      #expect(configuration.waitsForReady)
      let producing = try ProducerConfiguration(config: config)
      #expect(producing.linger == .milliseconds(3) && producing.compression == .zstd)
      #expect(try ReaderConfiguration(config: config).bufferBytes == 4096)
      let client = try Client(configuration)
      #expect(try await client.admin.describeCluster().principal == "billing")
      await client.close()
    }
  }

  @Test func everythingWrongIsSaidAtOnce() {
    let config = ConfigReader(
      provider: InMemoryProvider(values: [
        "skein.servers": .init(.stringArray(["a:b:c:d]", "ok"]), isSecret: false), "skein.tls.ca": "x",
        "skein.connect-timeout-ms": "soon", "skein.wait-for-ready": "maybe",
      ]))
    do {
      _ = try ClientConfiguration(config: config)
      Issue.record("accepted")
    } catch {
      #expect(error.reason == "INVALID_REQUEST")
      #expect(
        Set(error.violations.map(\.field)) == [
          "skein.servers", "skein.tls.certificate", "skein.tls.key", "skein.connect-timeout-ms",
          "skein.wait-for-ready",
        ])
    }
    do {
      _ = try ProducerConfiguration(
        config: ConfigReader(provider: InMemoryProvider(values: ["skein.producer.compression": "rar"])))
      Issue.record("accepted")
    } catch { #expect(error.message.contains("gzip, lz4, none, zstd")) }
  }

  /// Files are read at every new connection; one that is half replaced is a reason to wait, not to give up.
  @Test func replacedFilesCountFromTheNextConnectionOn() async throws {
    try await TestBroker.run { broker, admin in
      try await admin.admin.createTopic("t", partitions: 1)
      let folder = try folder()
      defer { try? FileManager.default.removeItem(at: folder) }
      try files(try broker.identity(principal: "first"), in: folder)
      let client = try Client(
        ClientConfiguration(
          address: broker.address,
          tls: TLSIdentity(
            ca: .file(folder.path + "/ca.pem"), certificate: .file(folder.path + "/me.pem"),
            key: .file(folder.path + "/me.key"))))
      let producer = try await client.producer()
      #expect(try await client.admin.describeCluster().principal == "first")
      try await producer.send(to: "t", value: [1])
      // The certificate is there before its key: the two do not belong together for a while.
      let second = try broker.identity(principal: "second")
      try files(
        TLSIdentity(ca: second.ca, certificate: try #require(second.certificate), key: .file("")), in: folder)
      try await broker.restart()
      async let place = producer.send(to: "t", value: [2])
      try await Task.sleep(for: .milliseconds(150))
      try files(second, in: folder)
      #expect(try await place.offset == 1)
      client.reloadIdentity()
      var cluster = try? await client.admin.describeCluster()
      for _ in 0..<100 where cluster == nil {
        try await Task.sleep(for: .milliseconds(50))
        cluster = try? await client.admin.describeCluster()
      }
      #expect(cluster?.principal == "second")
      client.replaceIdentity(try broker.identity(principal: "third"))
      #expect(try await client.admin.describeCluster().principal == "third")
      try await producer.close()
      await client.close()
    }
  }
}
