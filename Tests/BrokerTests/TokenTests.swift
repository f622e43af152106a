import Foundation
import FoundationNetworking
import NIOCore
import NIOPosix
import PluginPackage
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// Bearer tokens: made over the listener with certificates, used on the other one, judged by an authenticator.
@Suite(.serialized) struct TokenTests {
  /// A broker with both listeners, its administrator, and the authenticator's double.
  private final class World: Sendable {
    let test: TestBroker
    let admin: GRPCConnection
    let authenticators: TestAuthenticators
    let logs: LogRecorder.Lines

    init(
      _ authenticators: TestAuthenticators = TestAuthenticators(), folder: URL? = nil,
      identities: TestIdentities? = nil
    ) async throws {
      self.authenticators = authenticators
      let logs = LogRecorder.Lines()
      self.logs = logs
      test = try await TestBroker.start(folder: folder, identities: identities, logs: logs) {
        $0.tokenListener = TokenListenerConfiguration(
          host: "127.0.0.1", port: 0, authenticator: "test.tokens@1.0.0")
        $0.authenticatorSource = authenticators
      }
      admin = try await test.connect()
    }

    func create(
      _ principal: String = "orders", lifetime: Int64 = 0, note: String = ""
    ) async throws -> CreateTokenResponse {
      try await admin.call(
        AccessMethod.createToken,
        CreateTokenRequest(principal: principal, lifetimeMs: lifetime, note: note))
    }

    func revoke(_ made: CreateTokenResponse) async throws {
      let _: RevokeTokenResponse = try await admin.call(
        AccessMethod.revokeToken, RevokeTokenRequest(tokenID: made.description?.tokenID ?? ""))
    }

    /// A connection to the listener with tokens, without a certificate.
    func connect() async throws -> GRPCConnection {
      try await GRPCConnection.connect(
        host: test.host, port: test.tokenPort, tls: ClientTLS(trustRoots: test.issuer.trustRoots),
        group: MultiThreadedEventLoopGroup.singleton)
    }

    func close() async {
      await admin.close()
      await test.remove()
    }
  }

  private static func bearer(_ token: String) -> Metadata { ["authorization": "Bearer \(token)"] }

  private static func describe(
    _ connection: GRPCConnection, _ metadata: Metadata
  ) async throws -> DescribeClusterResponse {
    try await connection.call(ClusterMethod.describe, DescribeClusterRequest(), metadata: metadata)
  }

  private static func health(_ world: World) async throws -> ClusterHealthResponse {
    try await world.admin.call(ClusterMethod.health, ClusterHealthRequest())
  }

  private static func healthz(_ world: World) async throws -> String {
    let url = try #require(URL(string: "http://127.0.0.1:\(world.test.operationsPort)/healthz"))
    return String(decoding: try await URLSession.shared.data(from: url).0, as: UTF8.self)
  }

  @Test func aTokenStandsForItsPrincipal() async throws {
    let world = try await World()
    let made = try await world.create(note: "nightly job")
    #expect(made.token.hasPrefix("skein_") && made.token.count == 87)
    let connection = try await world.connect()
    let answer = try await Self.describe(connection, Self.bearer(made.token))
    #expect(answer.principal == "orders" && answer.tenant == "default")
    let listed: ListTokensResponse = try await world.admin.call(
      AccessMethod.listTokens, ListTokensRequest())
    let row = try #require(listed.tokens.first)
    #expect(listed.tokens.count == 1 && row == made.description)
    #expect(row.createdBy == "admin" && row.note == "nightly job" && row.principal == "orders")
    #expect(row.expiresMs - row.createdMs == TokenRegistry.standardLifetime)
    // Its other listener does not take it, and a certificate does not help on this one.
    let shown = try await GRPCConnection.connect(
      host: world.test.host, port: world.test.tokenPort, tls: try world.test.issuer.client("admin"),
      group: MultiThreadedEventLoopGroup.singleton)
    #expect(await fault { try await Self.describe(shown, Metadata()) } == .tokenInvalid)
    await shown.close()
    await connection.close()
    await world.close()
  }

  /// Who lets others in shows a certificate.
  @Test func aTokenMakesNoTokens() async throws {
    let world = try await World()
    let made = try await world.create()
    let connection = try await world.connect()
    let metadata = Self.bearer(made.token)
    #expect(
      await fault {
        let _: CreateTokenResponse = try await connection.call(
          AccessMethod.createToken, CreateTokenRequest(principal: "mine"), metadata: metadata)
      } == .permissionDenied)
    #expect(
      await fault {
        let _: ListTokensResponse = try await connection.call(
          AccessMethod.listTokens, ListTokensRequest(), metadata: metadata)
      } == .permissionDenied)
    await connection.close()
    await world.close()
  }

  @Test func limitsAndMistakes() async throws {
    let world = try await World()
    for request in [
      CreateTokenRequest(), CreateTokenRequest(principal: "Not/Allowed"),
      CreateTokenRequest(principal: "a", lifetimeMs: 59_999),
      CreateTokenRequest(principal: "a", lifetimeMs: 31_622_400_001),
      CreateTokenRequest(principal: "a", lifetimeMs: -1),
      CreateTokenRequest(principal: "a", note: String(repeating: "x", count: 101)),
    ] {
      let refused = await fault {
        let _: CreateTokenResponse = try await world.admin.call(AccessMethod.createToken, request)
      }
      #expect(refused == .invalidRequest, "\(request)")
    }
    let first = try await world.create()
    _ = try await world.create()
    #expect(await fault { _ = try await world.create() } == .tokenLimit)
    _ = try await world.create("another")
    try await world.revoke(first)
    _ = try await world.create()
    #expect(await fault { try await world.revoke(first) } == .tokenNotFound)
    await world.close()
  }

  /// Wrong, truncated, altered, revoked, replayed, oversized, missing, double: all are the same refusal.
  @Test func whatIsNotAGoodTokenIsDenied() async throws {
    let world = try await World()
    let made = try await world.create()
    let other = try await world.create("other")
    let revoked = try await world.create("gone")
    try await world.revoke(revoked)
    let good = Array(made.token)
    var wrong: [Metadata] = [Metadata(), Self.bearer(revoked.token), Self.bearer("skein_"), Self.bearer("x")]
    for index in good.indices {
      var altered = good
      altered[index] = altered[index] == "0" ? "1" : "0"
      wrong.append(Self.bearer(String(altered)))
    }
    for length in stride(from: 1, to: good.count, by: 9) {
      wrong.append(Self.bearer(String(good[..<length])))
    }
    let parts = made.token.split(separator: "_").map(String.init)
    let others = other.token.split(separator: "_").map(String.init)
    wrong += [
      Self.bearer(made.token + "0"), Self.bearer(made.token + "_"), Self.bearer(made.token.uppercased()),
      Self.bearer("skein_\(parts[1])_\(others[2])"), Self.bearer("skein_\(others[1])_\(parts[2])"),
      Self.bearer("skein__\(parts[2])"), Self.bearer("skein_\(parts[1])_"), Self.bearer("skein_\(parts[1])"),
      Self.bearer("_\(parts[1])_\(parts[2])"), Self.bearer(String(repeating: "a", count: 1_024)),
      Self.bearer(String(repeating: "a", count: 4_000)), ["authorization": "Basic \(made.token)"],
      ["authorization": made.token], ["authorization": "Bearer\(made.token)"],
      ["authorization": "Bearer  \(made.token)"], ["x-authorization": "Bearer \(made.token)"],
      ["authorization": "Bearer \(made.token),Bearer \(made.token)"],
    ]
    var double = Self.bearer(made.token)
    double.append("authorization", "Bearer \(made.token)")
    wrong.append(double)
    #expect(wrong.count > 100)
    var connection = try await world.connect()
    for (index, metadata) in wrong.enumerated() {
      // A connection that tries often is cut; that is another test's.
      if index % 15 == 14 {
        await connection.close()
        connection = try await world.connect()
      }
      #expect(await fault { try await Self.describe(connection, metadata) } == .tokenInvalid, "\(index)")
    }
    #expect(try await Self.describe(connection, Self.bearer(made.token)).principal == "orders")
    await connection.close()
    await world.close()
  }

  /// Slow, crashed, absent, or not of this world: nobody is let in, and health says so.
  @Test func failsClosed() async throws {
    let world = try await World()
    let made = try await world.create()
    #expect(try await Self.health(world).problems.isEmpty)
    #expect(try await Self.healthz(world) == "ok\n")
    for mode in [TestAuthenticators.Mode.silent, .crashed, .nonsense, .challenge, .badName] {
      world.authenticators.set(mode)
      let connection = try await world.connect()
      let refused = await fault { try await Self.describe(connection, Self.bearer(made.token)) }
      #expect(refused == .authenticatorUnavailable, "\(mode)")
      await connection.close()
      if case .silent = mode { continue }
      let problem = try #require(try await Self.health(world).problems.first)
      #expect(problem.subject == "token listener" && problem.reason == "AUTHENTICATOR_UNAVAILABLE")
      #expect(try await Self.healthz(world).hasPrefix("degraded: token listener"))
    }
    world.authenticators.set(.good)
    let connection = try await world.connect()
    _ = try await Self.describe(connection, Self.bearer(made.token))
    #expect(try await Self.health(world).problems.isEmpty)
    // The plug-in goes. What a token's end asks of it cannot be done: then nobody is let in at all.
    world.authenticators.set(absent: true)
    try await world.revoke(made)
    let stranger = try await world.connect()
    let other = try await world.create("other")
    #expect(
      await fault { try await Self.describe(stranger, Self.bearer(other.token)) } == .authenticatorUnavailable
    )
    let problem = try #require(try await Self.health(world).problems.first)
    #expect(problem.reason == "PLUGIN_NOT_FOUND")
    // And it comes back by itself.
    world.authenticators.set(absent: false)
    #expect(
      await fault { try await Self.soon { try await Self.describe(stranger, Self.bearer(other.token)) } }
        == nil)
    #expect(await fault { try await Self.describe(stranger, Self.bearer(made.token)) } == .tokenInvalid)
    await world.close()
  }

  /// An instance that answered nothing is replaced, and health is well again without anybody calling.
  @Test func aMuteInstanceIsReplaced() async throws {
    let world = try await World()
    let made = try await world.create()
    world.authenticators.set(.crashed)
    let connection = try await world.connect()
    #expect(
      await fault { try await Self.describe(connection, Self.bearer(made.token)) }
        == .authenticatorUnavailable)
    let before = world.authenticators.made.value
    let authenticator = try #require(world.test.broker.context.authenticator)
    await authenticator.upkeep(1)
    #expect(authenticator.problem != nil)
    await authenticator.upkeep(5)
    #expect(world.authenticators.made.value > before && authenticator.problem == nil)
    await connection.close()
    await world.close()
  }

  /// Expired tokens leave the store, and make room for their principal.
  @Test func expiredTokensGo() async throws {
    let world = try await World()
    let registry = world.test.broker.context.tokens
    for _ in 0..<2 {
      _ = try await registry.create(principal: "brief", of: .default, lifetime: -1, note: "", by: "test")
    }
    #expect(registry.snapshot.tokens.count == 1, "the second has taken the first one's place")
    #expect(registry.list(of: .default, principal: "").isEmpty)
    try await registry.removeExpired()
    #expect(registry.snapshot.tokens.isEmpty)
    let made = try await registry.create(
      principal: "brief", of: .default, lifetime: -1, note: "", by: "test")
    await world.test.broker.context.authenticator?.refresh()
    let connection = try await world.connect()
    #expect(await fault { try await Self.describe(connection, Self.bearer(made.text)) } == .tokenInvalid)
    await connection.close()
    await world.close()
  }

  /// A listener without its plug-in starts, and refuses.
  @Test func startsWithoutItsPlugIn() async throws {
    let authenticators = TestAuthenticators()
    authenticators.set(absent: true)
    let world = try await World(authenticators)
    let made = try await world.create()
    let connection = try await world.connect()
    #expect(
      await fault { try await Self.describe(connection, Self.bearer(made.token)) }
        == .authenticatorUnavailable)
    #expect(try await Self.health(world).problems.first?.subject == "token listener")
    await connection.close()
    await world.close()
  }

  @Test func revocationCutsAStream() async throws {
    let world = try await World()
    let _: CreateTopicResponse = try await world.admin.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: 1))
    let (first, second, other) = (
      try await world.create(), try await world.create(), try await world.create("other")
    )
    let connection = try await world.connect()
    var streams: [PublishClient] = []
    for token in [first, second, other] {
      let stream = try await PublishClient.open(
        ProducerMethod.publishStream, on: connection, metadata: Self.bearer(token.token))
      try await stream.send(PublishStreamRequest(open: PublishOpen()))
      #expect(try await stream.next()?.opened != nil)
      streams.append(stream)
    }
    let begun = ContinuousClock.now
    try await world.revoke(first)
    #expect(try await streams[0].fault().reason == .tokenInvalid)
    #expect(ContinuousClock.now - begun < .seconds(3))
    // The other token of the same principal, and another principal's, go on.
    for stream in streams.dropFirst() {
      try await stream.send(
        PublishStreamRequest(target: StreamTests.target(1), batch: try StreamTests.batch(1)))
      var acks: [BatchAck] = []
      while acks.isEmpty, let answer = try await stream.next() { acks += answer.acks }
      #expect(acks.first?.error == nil && acks.count == 1)
    }
    for stream in streams.dropFirst() { try await stream.cancel() }
    await connection.close()
    await world.close()
  }

  /// A principal changes its token without one failed call.
  @Test func rotation() async throws {
    let world = try await World()
    let old = try await world.create()
    let connection = try await world.connect()
    _ = try await Self.describe(connection, Self.bearer(old.token))
    let new = try await world.create()
    for _ in 0..<20 {
      _ = try await Self.describe(connection, Self.bearer(old.token))
      _ = try await Self.describe(connection, Self.bearer(new.token))
    }
    try await world.revoke(old)
    #expect(await fault { try await Self.describe(connection, Self.bearer(old.token)) } == .tokenInvalid)
    _ = try await Self.describe(connection, Self.bearer(new.token))
    #expect(world.authenticators.alive.value == 1, "old instances have ended")
    await connection.close()
    await world.close()
  }

  @Test func tokensOutliveARestart() async throws {
    let first = try await World()
    let (kept, gone) = (try await first.create(), try await first.create("gone"))
    try await first.revoke(gone)
    await first.admin.close()
    await first.test.stop()
    let second = try await World(folder: first.test.folder, identities: first.test.issuer)
    let connection = try await second.connect()
    #expect(try await Self.describe(connection, Self.bearer(kept.token)).principal == "orders")
    #expect(await fault { try await Self.describe(connection, Self.bearer(gone.token)) } == .tokenInvalid)
    await connection.close()
    await second.close()
  }

  /// The secret is in the answer that made it, and nowhere else.
  @Test func secretsStayWhereTheyAre() async throws {
    let world = try await World()
    let made = try await world.create()
    let secret = String(try #require(made.token.split(separator: "_").last))
    let connection = try await world.connect()
    _ = try await Self.describe(connection, Self.bearer(made.token))
    var texts: [String] = []
    for wrong in [made.token + "x", String(made.token.dropLast()), "Bearer " + made.token] {
      do {
        _ = try await Self.describe(connection, Self.bearer(wrong))
      } catch { texts.append("\(error)") }
    }
    let unknown: RevokeTokenRequest = RevokeTokenRequest(tokenID: made.token)
    do {
      let _: RevokeTokenResponse = try await world.admin.call(AccessMethod.revokeToken, unknown)
    } catch {}
    world.authenticators.set(.crashed)
    do {
      let stranger = try await world.connect()
      _ = try await Self.describe(stranger, Self.bearer(made.token))
    } catch { texts.append("\(error)") }
    #expect(texts.count == 4)
    let listed: ListTokensResponse = try await world.admin.call(
      AccessMethod.listTokens, ListTokensRequest())
    texts.append("\(listed) \(made.description as Any)")
    texts.append(try await Self.health(world).problems.map { "\($0)" }.joined())
    texts.append(
      try await MetricsPage.render(world.test.broker.context, budget: world.test.broker.budget))
    texts.append(world.logs.text)
    texts += world.authenticators.configurations
    for text in texts { #expect(!text.contains(secret.prefix(32)), "\(text.prefix(300))") }
    #expect(
      world.logs.text.contains("token created") && world.logs.text.contains("authenticator gives no answer"))
    await connection.close()
    await world.admin.close()
    await world.test.stop()
    let files = try #require(FileManager.default.enumerator(atPath: world.test.folder.path))
    var read = 0
    for case let name as String in files where name.contains("metadata") {
      let data = try? Data(contentsOf: world.test.folder.appendingPathComponent(name))
      read += data?.count ?? 0
      #expect(data?.range(of: Data(secret.prefix(32).utf8)) == nil, "\(name)")
    }
    #expect(read > 0)
    try FileManager.default.removeItem(at: world.test.folder)
  }

  /// As many tokens as there may be, with the longest names, fit what our authenticator takes.
  @Test func theLargestTableFits() throws {
    let name = String(repeating: "n", count: 63)
    var table = TokenRegistry.Snapshot()
    for index in 0..<TokenRegistry.maximumTokens {
      let id = String(format: "%016x", index)
      table.tokens[id] = AccessToken(
        id: id, tenant: TenantName(rawValue: name), principal: name,
        secretHash: [UInt8](repeating: 255, count: 32), createdMilliseconds: 0,
        expiresMilliseconds: .max, createdBy: "", note: "")
    }
    let config = Array(TokenAuthenticator.configuration(table, now: 0).utf8)
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    let manifest = try JSONSerialization.jsonObject(
      with: Data(contentsOf: folder.appendingPathComponent("../../Plugins/token-authenticator/manifest.json"))
    )
    let schema = try #require((manifest as? [String: Any])?["config_schema"])
    let text = String(decoding: try JSONSerialization.data(withJSONObject: schema), as: UTF8.self)
    try ConfigSchema(parsing: text).check(config, mostBytes: ConfigSchema.mostTableBytes)
  }

  @Test func settingsGoTogether() throws {
    #expect(try TokenListenerConfiguration.checked(nil, authenticator: "") == nil)
    #expect(throws: Fault.self) { try TokenListenerConfiguration.checked(nil, authenticator: "a@1.0.0") }
    #expect(throws: Fault.self) {
      try TokenListenerConfiguration.checked(("127.0.0.1", 1), authenticator: "")
    }
    let both = try TokenListenerConfiguration.checked(("127.0.0.1", 1), authenticator: "a@1.0.0")
    #expect(both?.port == 1 && both?.authenticator == "a@1.0.0")
  }

  /// The reason of the fault that `body` throws.
  private func fault<R>(_ body: () async throws -> R) async -> Reason? {
    do {
      _ = try await body()
      return nil
    } catch {
      return (error as? Fault)?.reason ?? .internalError
    }
  }

  /// Repeats until it works, at most ten seconds.
  private static func soon<R>(_ body: () async throws -> R) async throws -> R {
    for _ in 0..<100 {
      if let result = try? await body() { return result }
      try await Task.sleep(for: .milliseconds(100))
    }
    return try await body()
  }
}
