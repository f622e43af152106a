import Foundation
import Glibc
import NIOCore
import PluginABI
import PluginPackage
import SkeinCore
import Testing

@testable import PluginHost

/// Good plug-ins in real children.
@Suite(.timeLimit(.minutes(1))) struct ChildTests {
  @Test func placesRecordsInAChild() async throws {
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(.good), config: "", usedBy: "topic orders")
      let placed = try await partitioner.place(PlacementBatch(["a", nil, "b", ""]), test).get()
      #expect(placed == [fnv("a", 8), -1, fnv("b", 8), fnv("", 8)])
      #expect(partitioner.counts.calls == 1)
      #expect(partitioner.counts.records == 4)
      let status = try #require(test.host.status(partitioner.reference))
      #expect(status.processID > 0)
      #expect(status.placement == .child)
      // Socket, image, and the three standard ones: nothing of the broker's leaked.
      let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(status.processID)/fd")
      #expect(open.sorted() == ["0", "1", "2", "3", "4"])
    }
  }

  @Test func theLastReferenceEndsTheInstanceAndTheLastInstanceTheChild() async throws {
    try await TestHost.with { test in
      let artifact = try await TestPlugin.artifact(.good)
      var first: (any PartitionerInstance)? = try await test.host.partitioner(
        artifact, config: "", usedBy: "a")
      let second = try await test.host.partitioner(artifact, config: "", usedBy: "b")
      let pid = try #require(test.host.status(second.reference)).processID
      #expect(try await first?.place(PlacementBatch(["a"]), test).get().count == 1)
      first = nil
      try await TestHost.eventually("one instance") { test.host.status(second.reference)?.instances == 1 }
      #expect(try await second.place(PlacementBatch(["a"]), test).get().count == 1)
      #expect(test.host.status(second.reference)?.processID == pid)
      try await release(second, test, pid)
      // And again, in a new child.
      let third = try await test.host.partitioner(artifact, config: "", usedBy: "c")
      #expect(try await third.place(PlacementBatch(["a"]), test).get().count == 1)
    }
  }

  private func release(_ last: consuming any PartitionerInstance, _ test: TestHost, _ pid: Int32) async throws
  {
    let reference = last.reference
    _ = consume last
    #expect(test.host.status(reference)?.faults.isEmpty == true)
  }

  @Test func aProbeOfAllKindsReportsWhatItSaw() async throws {
    try await TestHost.with { test in
      let artifact = try await TestPlugin.artifact(
        .good, kinds: [.partitioner, .authenticator, .offsetStore])
      let report = try await test.host.probe(artifact, config: "")
      #expect(report.calls == 3_000)
      #expect(report.nanosecondsPerRecord > 0)
      #expect(report.startNanoseconds > report.loadNanoseconds)
      print("probe: \(report)")
    }
  }

  @Test func configurationsAndSecretsReachThePlugin() async throws {
    let folder = TestHost.newFolder()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try Data("sesame!".utf8).write(to: URL(fileURLWithPath: folder + "/secret"))
    try await TestHost.with { test in
      let artifact = try await TestPlugin.artifact(.good, paths: [folder])
      let good = try await test.host.partitioner(
        artifact, config: #"{"pool": {"after": 3}, "secret": {"secret_file": "\#(folder)/secret"}}"#,
        usedBy: "topic orders")
      try await TestHost.eventually("the secret's length in the log") {
        test.log.all.contains { $0.contains("text=seven") && $0.contains("used_by=topic orders") }
      }
      #expect(!test.log.all.contains { $0.contains("sesame") })
      // What a plug-in writes cannot forge a line.
      #expect(test.log.all.contains { $0.contains(#"text=made\u{a}level=forged"#) })
      for (config, words) in [
        (#"{"bad": 1}"#, "the member bad is not wanted"),
        (#"{"secret": {"secret_file": "/etc/passwd"}}"#, "outside the paths"),
        (#"{"secret": {"secret_file": "\#(folder)/../x"}}"#, "without `..`"),
        (#"{"secret": {"secret_file": "\#(folder)/none"}}"#, "cannot be read"),
        ("[]", "not one JSON object"),
      ] {
        let fault = await #expect(throws: Fault.self) {
          try await test.host.partitioner(artifact, config: config, usedBy: "x")
        }
        #expect(fault?.reason == .pluginConfigInvalid)
        #expect(fault?.message.contains(words) == true, "\(fault?.message ?? "")")
      }
      #expect(try await good.place(PlacementBatch(["a"]), test).get().count == 1)
    }
  }

  @Test func aPluginsSeriesStandInTheMetrics() async throws {
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(.good), config: "", usedBy: "topic orders")
      for _ in 0..<3 { _ = await partitioner.place(PlacementBatch(["a"]), test) }
      try await TestHost.eventually("the series") {
        test.host.metrics().contains {
          $0.hasPrefix("skein_plugin_own_batches{plugin=\"com.acme.test\",version=\"1.0.0\"")
            && $0.contains("used_by=\"topic orders\"") && $0.hasSuffix(" 3.0")
        }
      }
      #expect(
        test.host.metrics().contains { $0.hasPrefix("skein_plugin_calls_total{") && $0.hasSuffix(" 3") })
    }
  }

  @Test func aBatchBeyondTheLimitsNeverReachesAPlugin() async throws {
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(.good), config: "", usedBy: "topic orders")
      for batch in [
        PlacementBatch([]), PlacementBatch(["a"], partitions: 0), PlacementBatch(["a"], partitions: 10_001),
        PlacementBatch([String?](repeating: nil, count: 100_001)),
      ] {
        guard case .failure(let fault) = await partitioner.place(batch, test) else {
          throw Missing(what: "a fault")
        }
        #expect(fault.reason == .invalidRequest)
      }
      // Lengths that point past the keys: an error of ours, and no crash of anybody.
      let wrong = PlacementBatch(
        topic: TopicID(high: 1, low: 1), partitions: 4, keyLengths: [200], keys: SharedBytes([1, 2]))
      guard case .failure(let fault) = await partitioner.place(wrong, test) else {
        throw Missing(what: "a fault")
      }
      #expect(fault.reason == .partitionerUnavailable)
      let largest = PlacementBatch([String?](repeating: "key", count: 100_000))
      #expect(try await partitioner.place(largest, test).get().count == 100_000)
    }
  }

  /// The kernel kills a child with its broker, also while the plug-in hangs and reads nothing.
  @Test func noChildSurvivesItsBroker() async throws {
    let image = FileManager.default.temporaryDirectory.appendingPathComponent("skein-ph-\(UUID()).so")
    try Data(try await TestPlugin.bytes(.hangAtLoad)).write(to: image)
    defer { try? FileManager.default.removeItem(at: image) }
    let hello = ChildHello(id: "com.acme.test", pluginVersion: "1.0.0").frame()
    let script = """
      import os, socket, subprocess, sys, time
      import fcntl
      a, b = (fcntl.fcntl(s.detach(), fcntl.F_DUPFD, 20) for s in socket.socketpair())
      image = fcntl.fcntl(os.open(sys.argv[2], os.O_RDONLY), fcntl.F_DUPFD, 20)
      os.dup2(b, 3); os.dup2(image, 4)
      p = subprocess.Popen([sys.argv[1], '--child', str(os.getpid()), '0', '0', str(1 << 31), '64', '0'], pass_fds=(3, 4), env={})
      os.write(a, bytes.fromhex(sys.argv[3]))
      os.read(a, 1)
      open(sys.argv[4] + 'new', 'w').write(str(p.pid))
      os.rename(sys.argv[4] + 'new', sys.argv[4])
      time.sleep(100)
      """
    let told = image.path + ".pid"
    defer { try? FileManager.default.removeItem(atPath: told) }
    let broker = try TestProcess(
      "/usr/bin/python3", ["-c", script, TestHost.hostProgram, image.path, Hex.string(hello), told])
    var pid: Int32 = 0
    try await TestHost.eventually("the child's number") {
      pid = (try? String(contentsOfFile: told, encoding: .utf8)).flatMap { Int32($0) } ?? 0
      return pid > 0
    }
    #expect(kill(pid, 0) == 0)
    kill(broker.pid, SIGKILL)
    _ = try await broker.end()
    try await TestHost.eventually("the end of the child") { Self.isGone(pid) }
  }

  /// Gone, or a zombie that nobody buries in this container.
  static func isGone(_ pid: Int32) -> Bool {
    guard kill(pid, 0) == 0 else { return true }
    guard let status = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8) else {
      return true
    }
    return status.contains("State:\tZ")
  }

  @Test func closingLeavesNoProcess() async throws {
    var pid: Int32 = 0
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(.good), config: "", usedBy: "topic orders")
      pid = try #require(test.host.status(partitioner.reference)).processID
      await test.host.close()
      #expect(kill(pid, 0) != 0)
      guard case .failure(let fault) = await partitioner.place(PlacementBatch(["a"]), test) else {
        throw Missing(what: "a fault")
      }
      #expect(fault.reason == .partitionerUnavailable)
      await #expect(throws: Fault.self) {
        try await test.host.partitioner(try await TestPlugin.artifact(.good), config: "", usedBy: "late")
      }
    }
  }

  @Test func aHangingChildDoesNotHoldTheCloseUp() async throws {
    try await TestHost.with({
      $0.partitionerDeadlineMilliseconds = 60_000; $0.controlDeadlineMilliseconds = 300
    }) { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(.hang), config: "", usedBy: "topic orders")
      async let hanging = partitioner.place(PlacementBatch(["boom"]), test)
      try await Task.sleep(for: .milliseconds(50))
      await test.host.close()
      guard case .failure = await hanging else { throw Missing(what: "a fault") }
    }
  }

  /// FNV-1a, as the plug-in has it.
  private func fnv(_ key: String, _ count: UInt32) -> Int32 {
    var hash: UInt32 = 2_166_136_261
    for byte in key.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
    return Int32(hash % count)
  }
}
