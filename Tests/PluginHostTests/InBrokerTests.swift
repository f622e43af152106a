import CSkeinShims
import Foundation
import Glibc
import PluginPackage
import SkeinCore
import Testing

@testable import PluginHost

/// Plug-ins in the broker itself, where an operator granted it.
@Suite(.timeLimit(.minutes(1))) struct InBrokerTests {
  @Test func agrantedPartitionerIsCalledInTheBroker() async throws {
    try await TestHost.with { test in
      let artifact = try await TestPlugin.artifact(.good, grants: [.inProcess])
      let inside = try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      let child = try await test.host.partitioner(
        try await TestPlugin.artifact(.prints), config: "", usedBy: "other")
      let batch = PlacementBatch((0..<1_000).map { $0 % 7 == 0 ? nil : "key-\($0)" }, partitions: 12)
      let answers = try await inside.place(batch, test).get()
      #expect(answers == (try await child.place(batch, test).get()))
      #expect(inside.counts.records == 1_000)
      let status = try #require(test.host.status(inside.reference))
      #expect(status.faults.isEmpty)
      // The log and the series come through as well.
      try await TestHost.eventually("its line in the log") {
        test.log.all.contains { $0.contains("text=made") }
      }
    }
  }

  @Test func itsAnswersAreCheckedAndStruck() async throws {
    try await TestHost.with { test in
      let artifact = try await TestPlugin.artifact(.wrongRange, grants: [.inProcess])
      let inside = try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      for _ in 0..<3 {
        guard case .failure(let fault) = await inside.place(PlacementBatch(["boom"]), test) else {
          throw Missing(what: "a fault")
        }
        #expect(fault.reason == .pluginFault)
      }
      guard case .failure(let fault) = await inside.place(PlacementBatch(["a"]), test) else {
        throw Missing(what: "quarantine")
      }
      #expect(fault.reason == .pluginQuarantined)
      #expect(test.host.status(inside.reference)?.placement == .broker)
    }
  }

  /// The probe stands before the load: what crashes there is never loaded here, or this test would not come to its end.
  @Test func whatFailsItsProbeIsNotLoaded() async throws {
    try await TestHost.with { test in
      let artifact = try await TestPlugin.artifact(.crashAtLoad, grants: [.inProcess])
      let fault = await #expect(throws: Fault.self) {
        try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      }
      #expect(fault?.reason == .pluginProbeFailed)
    }
  }

  /// The crumb names it at the next start: one strike is enough, and a release lets it run in children only.
  @Test(arguments: [
    (TestPlugin.Variant.crashInCall, "died in it by signal 11"), (.hang, "hung in it"),
  ])
  func whoTakesTheBrokerDownIsQuarantinedAtTheNextStart(
    _ variant: TestPlugin.Variant, _ words: String
  ) async throws {
    let run = TestHost.newFolder()
    defer { for path in [run, run + ".so"] { try? FileManager.default.removeItem(atPath: path) } }
    let broker = try await Self.broker(
      variant, run: run, key: "boom", hangMilliseconds: variant == .hang ? 1_200 : 60_000)
    let ended = try await broker.end()
    #expect(ended == (variant == .hang ? 70 : SIGSEGV))

    try await TestHost.with(in: run) { test in
      #expect(test.quarantined.all.count == 1)
      #expect(test.quarantined.all.first?.contains(words) == true, "\(test.quarantined.all)")
      #expect(test.quarantined.all.first?.contains("topic 00000000000000070000000000000009") == true)
      let reference = try PluginReference(parsing: "com.acme.test@1.0.0")
      let status = try #require(test.host.status(reference))
      #expect(status.quarantined?.contains(words) == true)
      #expect(status.placement == .broker)
      // The program's own name for it.
      let artifact = try await TestPlugin.artifact(
        variant, grants: [.inProcess], hash: String(repeating: "a", count: 64))
      let fault = await #expect(throws: Fault.self) {
        try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      }
      #expect(fault?.reason == .pluginQuarantined)
      try test.host.release(artifact.sha256)
      let child = try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      #expect(test.host.status(child.reference)?.placement == .child)
      #expect(try await child.place(PlacementBatch(["a"]), test).get().count == 1)
    }
  }

  /// kill -9 in the middle of a call accuses nobody.
  @Test func aKilledBrokerAccusesNobody() async throws {
    let run = TestHost.newFolder()
    defer { for path in [run, run + ".so"] { try? FileManager.default.removeItem(atPath: path) } }
    let broker = try await Self.broker(.hang, run: run, key: "boom", hangMilliseconds: 60_000)
    // It is in the call when its crumb says for which topic.
    try await TestHost.eventually("the call") {
      var mark: Int32 = 0
      var crumb = skein_crumb()
      return skein_crumbs_read(run + "/crumbs", &mark, &crumb, 1) == 1 && crumb.forTopic.hasSuffix("9")
    }
    kill(broker.pid, SIGKILL)
    _ = try await broker.end()
    try await TestHost.with(in: run) { test in
      #expect(test.quarantined.all.isEmpty)
    }
  }

  @Test func anyBytesInThePageAreRead() async throws {
    let run = TestHost.newFolder()
    try FileManager.default.createDirectory(
      atPath: run, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    var page = [UInt8](repeating: 0xff, count: 64 + 64 * 128 + 208 * 256)
    page.replaceSubrange(0..<4, with: Array("CRB1".utf8))
    page.replaceSubrange(8..<16, with: [11, 0, 0, 0, 1, 0, 0, 0])
    page.replaceSubrange(64..<68, with: [1, 0, 0, 0])
    for bytes in [page, Array(page.prefix(100)), []] {
      try Data(bytes).write(to: URL(fileURLWithPath: run + "/crumbs"))
      try await TestHost.with(in: run, keep: true) { test in #expect(test.quarantined.all.isEmpty) }
    }
    try? FileManager.default.removeItem(atPath: run)
  }

  /// A process that loads the variant, from `run`.so, into itself and places a key.
  private static func broker(
    _ variant: TestPlugin.Variant, run: String, key: String, hangMilliseconds: Int
  ) async throws -> TestProcess {
    let file = URL(fileURLWithPath: run + ".so")
    try Data(try await TestPlugin.bytes(variant)).write(to: file)
    let program = URL(fileURLWithPath: TestHost.hostProgram).deletingLastPathComponent()
      .appendingPathComponent("PluginBench")
    return try TestProcess(
      program.path, ["once", file.path, "com.acme.test", "1.0.0", run, key, "\(hangMilliseconds)"])
  }
}
