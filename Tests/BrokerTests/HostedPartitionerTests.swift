import Foundation
import PluginPackage
import SkeinClient
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// A partitioner in C, compiled here from the public header alone, signed, installed and run in a child process:
/// bound to a live topic, crashing there, and rolled back.
@Suite(.serialized) struct HostedPartitionerTests {
  private static let id = "com.acme.sum@1.0.0"

  /// The sum of the key's bytes, moved on by one. A key of "!" is the end of it, one of "#" is nowhere.
  private static let source = """
    #include "skein_plugin.h"
    #include <string.h>
    SKEIN_PLUGIN_ABI_MARK;
    static void batch(void *self, const skein_topic *topic, const skein_records *records, int32_t *out) {
      (void)self;
      for (uint32_t i = 0; i < records->count; i++) {
        skein_bytes key = records->keys[i];
        uint32_t sum = 1;
        for (size_t j = 0; j < key.len; j++) sum += key.ptr[j];
        if (key.len == 1 && key.ptr[0] == '!') *(volatile int *)16 = 1;
        out[i] = key.ptr == NULL ? SKEIN_ANY_PARTITION
                 : key.len == 1 && key.ptr[0] == '#' ? topic->partitions : (int32_t)(sum % (uint32_t)topic->partitions);
      }
    }
    static skein_status create(const skein_host *host, uint64_t instance, skein_bytes config, void **self, skein_bytes *why) {
      (void)host, (void)instance, (void)config, (void)why;
      *self = NULL;
      return SKEIN_OK;
    }
    static void destroy(void *self) { (void)self; }
    static const skein_partitioner partitioner = {
        .size = sizeof(skein_partitioner), .flags = SKEIN_PARTITIONER_PURE,
        .ops = {.create = create, .quiesce = NULL, .destroy = destroy}, .batch = batch};
    static const void *get(const char *kind) { return strcmp(kind, SKEIN_PARTITIONER) == 0 ? &partitioner : NULL; }
    static const skein_plugin plugin = {
        .size = sizeof(skein_plugin), .abi_minor = SKEIN_ABI_MINOR, .id = "com.acme.sum", .version = "1.0.0", .get = get};
    SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) { (void)host; return &plugin; }
    """

  private static func package(signedBy key: String) throws -> [UInt8] {
    let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-hp-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let (source, output) = (folder.appendingPathComponent("p.c"), folder.appendingPathComponent("p.so"))
    try Data(Self.source.utf8).write(to: source)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "cc", "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-z,nodelete", "-I",
      repository.appendingPathComponent("Sources/CSkeinPlugin/include").path, "-o", output.path, source.path,
    ]
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    let template = """
      {"id": "com.acme.sum", "version": "1.0.0", "kinds": ["skein.partitioner/1"], "runtime": "c",
       "pure": true, "publisher": "Acme"}
      """
    return try PackageBuilder.build(
      template: Array(template.utf8),
      files: [.init(name: "p.so", bytes: [UInt8](try Data(contentsOf: output)))], privateKeyPEM: key
    ).package.encoded()
  }

  private static var hostProgram: String {
    URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      .appendingPathComponent("skein-plugin-host").path
  }

  private func publish(_ connection: GRPCConnection, _ keys: [String]) async throws -> [RecordResult] {
    let response: PublishResponse = try await connection.call(
      ProducerMethod.publish,
      PublishRequest(
        topic: "t",
        records: keys.map { Record(key: SharedBytes(Array($0.utf8)), value: SharedBytes([1])) }))
    return response.results
  }

  @Test func aPluginInCIsBoundCrashesAndIsRolledBack() async throws {
    try #require(FileManager.default.isExecutableFile(atPath: Self.hostProgram), "build skein-plugin-host")
    let test = try await TestBroker.start { $0.pluginHostProgram = Self.hostProgram }
    let (connection, client) = (try await test.connect(), try test.client())
    let keys = try Signature.generate()
    try await client.admin.addPluginKey(keys.publicPEM, name: "acme")
    let package = try Self.package(signedBy: keys.privatePEM)
    _ = try await client.admin.installPlugin(package, sha256: Digest.hexadecimal(package))
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: 4))
    let names = (0..<40).map { "key-\($0)" }
    _ = try await publish(connection, names)
    let place = { (key: String) in Int32((1 + key.utf8.reduce(0) { $0 + Int($1) }) % 4) }

    let stream = try await SwapClient.open(PluginsMethod.bind, on: connection)
    try await stream.send(
      BindPartitionerRequest(
        topic: "t", binding: PartitionerBinding(partitioner: Self.id), fence: true, watchMs: 60_000))
    var told: [BindPhase] = []
    while told.last != .watching, let next = try await stream.next() {
      told.append(next.phase)
      if next.phase == .prepared { #expect(next.sampled == 40 && next.moved > 10) }
    }
    #expect(told == [.prepared, .fenced, .committed, .flipped, .drained, .watching])
    let placed = try await publish(connection, names)
    #expect(placed.map(\.partition) == names.map(place) && placed.allSatisfy { $0.error == nil })
    let generation = try #require(try await SwapTests.describe(connection).generations.last)
    let sha256 = try #require(generation.sha256.isEmpty ? nil : generation.sha256)
    #expect(try await client.admin.describePlugin(Self.id).plugin.sha256 == sha256)
    await expect(reason: "PLUGIN_IN_USE") { try await client.admin.removePlugin(Self.id) }

    // It crashes in its child: refused, definite; the broker and its other topics go on.
    let crash = Fault(try #require(try await publish(connection, ["!"]).first?.error))
    #expect(crash.reason == .partitionerUnavailable && crash.retryAfterMilliseconds != nil)
    // The child comes back by itself.
    var again = try await publish(connection, ["key-1"])
    while again[0].error != nil, try await SwapTests.describe(connection).topic?.generation == 2 {
      again = try await publish(connection, ["key-1"])
    }
    // Until it is rolled back it goes on crashing.
    while try await SwapTests.describe(connection).topic?.generation == 2 {
      _ = try await publish(connection, ["!"])
    }
    let end = try #require(try await stream.next())
    #expect(end.phase == .rolledBack && end.generation == 3 && end.rolledBackTo == 1)
    let restored = try await SwapTests.describe(connection)
    #expect(restored.topic?.partitioner == "murmur2" && restored.generations.last?.fenced == true)
    let after = try await publish(connection, ["!"] + names)
    #expect(after.allSatisfy { $0.error == nil })
    #expect(try await client.admin.describePlugin(Self.id).faults > 0)
    await client.close()
    await connection.close()
    await test.remove()
  }
}
