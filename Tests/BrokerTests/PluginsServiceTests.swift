import NIOCore
import PluginPackage
import SkeinClient
import SkeinCore
import Synchronization
import Testing
import Transport
import Wire

@testable import Broker

/// `skein.v1.Plugins` over the wire and over the SDK, without a child process.
@Suite(.serialized) struct PluginsServiceTests {
  private typealias InstallStream = StreamClient<InstallPluginRequest, InstallPluginResponse>
  private static let name = "com.acme.sticky@1.0.0"

  private struct House {
    let test: TestBroker
    let runner: FakePluginRunner
    let client: Client
    var admin: Admin { client.admin }

    func close() async {
      await client.close()
      await test.remove()
    }

    func install(_ package: [UInt8]) async throws -> PluginInstallation {
      try await admin.installPlugin(package, sha256: Digest.hexadecimal(package))
    }
  }

  private func open(trusted: Bool = true) async throws -> House {
    let runner = FakePluginRunner()
    let test = try await TestBroker.start { $0.pluginRunner = runner }
    let house = House(test: test, runner: runner, client: try test.client())
    if trusted { try await house.admin.addPluginKey(try SamplePackage.keys.get().publicPEM, name: "acme") }
    return house
  }

  @Test func anInstallOfMegabytesIsCheckedProbedAndListed() async throws {
    let house = try await open()
    let package = try SamplePackage.make(padding: 5 << 20)
    let installed = try await house.install(package)
    #expect(installed.plugin.reference == Self.name && installed.plugin.trust == "trusted")
    #expect(installed.plugin.state == "ready" && installed.checks.last?.name == "probe")
    #expect(house.runner.probes == 1 && house.test.broker.budget.reserved < 5 << 20)
    #expect(try await house.install(package).wasInstalledBefore)
    let listed = try await house.admin.listPlugins()
    #expect(listed.map(\.reference) == ["murmur2", "sticky", "round-robin", Self.name])
    #expect(try await house.admin.listPlugins(kind: "authenticator").isEmpty)
    await expect(reason: "INVALID_REQUEST") { _ = try await house.admin.listPlugins(kind: "partitoner") }
    await expect(reason: "PLUGIN_EXISTS") { _ = try await house.install(try SamplePackage.make(padding: 1)) }
    let described = try await house.admin.describePlugin(Self.name)
    #expect(
      described.publisher == "Acme" && described.manifest.contains("com.acme.sticky")
        && described.problem == nil)
    await house.close()
  }

  @Test func whatFailsIsNotInstalled() async throws {
    let house = try await open(trusted: false)
    await expect(reason: "PLUGIN_REFUSED") { _ = try await house.install(try SamplePackage.make()) }
    try await house.admin.addPluginKey(try SamplePackage.keys.get().publicPEM, name: "acme")
    house.runner.failProbes(Fault(.pluginProbeFailed, "signal 11"))
    await expect(reason: "PLUGIN_PROBE_FAILED") { _ = try await house.install(try SamplePackage.make()) }
    house.runner.failProbes(nil)
    var altered = try SamplePackage.make()
    altered[altered.count - 1] ^= 1
    await expect(reason: "PLUGIN_REFUSED") { _ = try await house.install(altered) }
    #expect(try await house.admin.listPlugins().count == 3)
    await house.close()
  }

  /// Streams that no client of ours would send.
  @Test func aStreamThatBreaksTheRulesOrBreaksOffLeavesNothing() async throws {
    let house = try await open()
    let connection = try await house.test.connect()
    let package = try SamplePackage.make()
    let sha256 = Digest.hexadecimal(package)
    let first = InstallPluginRequest(size: UInt64(package.count), sha256: sha256)
    let all = InstallPluginRequest(chunk: SharedBytes(package))
    let none: [InstallPluginRequest] = []
    for (messages, says) in [
      (none, "size and sha256 first"), ([InstallPluginRequest(size: 0, sha256: sha256)], "1 to"),
      ([InstallPluginRequest(size: 1 << 40, sha256: sha256)], "1 to"),
      ([InstallPluginRequest(size: 9, sha256: "../etc")], "64 digits"), ([first], "after 0 of"),
      ([first, all, all], "more bytes came"), ([first, first], "first message only"),
      (
        [
          InstallPluginRequest(size: UInt64(2 << 20), sha256: sha256),
          InstallPluginRequest(chunk: SharedBytes([UInt8](repeating: 0, count: 1 << 20 + 1))),
        ], "at most 1048576"
      ),
      (
        [InstallPluginRequest(size: UInt64(package.count), sha256: String(repeating: "0", count: 64)), all],
        "not the one that was announced"
      ),
    ] {
      let stream = try await InstallStream.open(PluginsMethod.install, on: connection)
      for message in messages { try await stream.send(message) }
      try await stream.sendEnd()
      let fault = try await stream.fault()
      #expect(
        ["INVALID_REQUEST", "PLUGIN_REFUSED"].contains(fault.reason.name) && fault.message.contains(says),
        "\(fault)")
    }
    // One that goes in the middle frees its place and its memory.
    let gone = try await InstallStream.open(PluginsMethod.install, on: connection)
    try await gone.send(first)
    let second = try await InstallStream.open(PluginsMethod.install, on: connection)
    try await second.send(first)
    #expect(try await second.fault().reason == .overloaded)
    try await gone.cancel()
    _ = try await gone.status()
    while house.test.broker.context.plugins.isInstalling.load(ordering: .acquiring) { await Task.yield() }
    #expect(try await house.admin.listPlugins().count == 3)
    #expect(!(try await house.install(package).wasInstalledBefore))
    await connection.close()
    await house.close()
  }

  @Test func whatIsBoundMustBeReadyAndFit() async throws {
    let house = try await open()
    let schema = #"{"type": "object", "properties": {"salt": {"type": "string", "maxLength": 4}}}"#
    _ = try await house.install(try SamplePackage.make(schema: schema))
    _ = try await house.install(try SamplePackage.make(id: "com.acme.auth", kind: .authenticator))
    func create(_ topic: String, _ plugin: String, _ config: String = "{}") async throws {
      let connection = try await house.test.connect()
      defer { Task { await connection.close() } }
      let _: CreateTopicResponse = try await connection.call(
        TopicsMethod.create,
        CreateTopicRequest(name: topic, partitions: 2, partitioner: plugin, partitionerConfig: config))
    }
    func refusal(_ plugin: String, _ config: String = "{}") async -> String {
      await fault { try await create("x", plugin, config) }?.reason.name ?? ""
    }
    #expect(await refusal("com.acme.none@1.0.0") == "PLUGIN_NOT_FOUND")
    #expect(await refusal("com.acme.auth@1.0.0") == "PLUGIN_WRONG_KIND")
    #expect(await refusal(Self.name, #"{"slat": "a"}"#) == "PLUGIN_CONFIG_INVALID")
    house.runner.quarantine("three crashes")
    #expect(await refusal(Self.name) == "PLUGIN_QUARANTINED")
    var listed = try await house.admin.describePlugin(Self.name)
    #expect(listed.plugin.state == "quarantined" && listed.problem?.reason == "PLUGIN_QUARANTINED")
    #expect(listed.strikes == 3 && listed.recentFaults.first?.kind == "crash")
    try await house.admin.releasePlugin(Self.name)
    #expect(house.runner.released == [listed.plugin.sha256])
    try await house.admin.setPluginEnabled(Self.name, false)
    #expect(await refusal(Self.name) == "PLUGIN_DISABLED")
    try await house.admin.setPluginEnabled(Self.name, true)
    try await create("t", Self.name, #"{"salt": "abc"}"#)
    // Who has it keeps it, also over a restart; nobody takes it from under a topic.
    try await house.admin.setPluginEnabled(Self.name, false)
    await expect(reason: "PLUGIN_IN_USE") { try await house.admin.removePlugin(Self.name) }
    let key = try #require(try await house.admin.listPluginKeys().first)
    await expect(reason: "PLUGIN_IN_USE") { try await house.admin.removePluginKey(key.id) }
    await house.client.close()
    await house.test.stop()
    let runner = FakePluginRunner()
    let again = try await TestBroker.start(folder: house.test.folder, identities: house.test.issuer) {
      $0.pluginRunner = runner
    }
    let context = again.broker.context
    let topic = try context.registry.topic("t", of: .default)
    #expect(context.partitioning.placer(of: topic)?.problem == nil)
    let client = try again.client()
    listed = try await client.admin.describePlugin(Self.name)
    #expect(listed.usedBy == ["topic t"] && listed.plugin.state == "disabled")
    try await client.admin.deleteTopic("t")
    try await client.admin.removePlugin(Self.name)
    await expect(reason: "PLUGIN_NOT_FOUND") { try await client.admin.removePlugin(Self.name) }
    await client.close()
    await again.remove()
  }

  @Test func grantsAndKeys() async throws {
    let house = try await open()
    _ = try await house.install(try SamplePackage.make())
    #expect(try await house.admin.grantPlugin(Self.name, ["in-process"]).placement == "broker")
    await expect(reason: "INVALID_REQUEST") { try await house.admin.grantPlugin(Self.name, ["root"]) }
    await expect(reason: "PLUGIN_KEY_NOT_FOUND") { try await house.admin.removePluginKey("0123456789abcdef") }
    await expect(reason: "INVALID_REQUEST") { try await house.admin.addPluginKey("no pem", name: "x") }
    let key = try #require(try await house.admin.listPluginKeys().first)
    #expect(key.name == "acme" && key.trust == "trusted" && key.addedBy == "admin")
    try await house.admin.removePluginKey(key.id)
    let orphan = try await house.admin.describePlugin(Self.name)
    #expect(
      orphan.plugin.state == "failed" && orphan.problem?.reason == "PLUGIN_REFUSED"
        && orphan.plugin.trust.isEmpty)
    await house.close()
  }
}
