import Foundation
import Glibc
import PluginPackage
import SkeinCore
import Testing

@testable import PluginHost

/// Bad plug-ins in real children: each is caught, named, and leaves this process alone.
@Suite(.timeLimit(.minutes(1))) struct FaultTests {
  @Test(arguments: [
    (TestPlugin.Variant.crashAtLoad, "while it was loaded: its process ended by signal 11 (SIGSEGV"),
    (.hangAtLoad, "its load took more than 300 ms"),
    (.otherID, "it calls itself com.evil.other, the manifest says com.acme.test"),
    (.shortTables, "its skein_plugin table of 12 bytes has no id"),
    (.nullEntry, "skein_plugin_entry gave NULL"),
    (.wrongABI, "it has no table for skein.partitioner/1"),
    (.shortPartitioner, "its table for skein.partitioner/1 of 16 bytes must have create"),
    (.crashInCreate, "its process ended by signal 11"),
  ])
  func aProbeNamesWhatIsWrong(_ variant: TestPlugin.Variant, _ words: String) async throws {
    try await TestHost.with({ if variant == .hangAtLoad { $0.loadDeadlineMilliseconds = 300 } }) { test in
      let artifact = try await TestPlugin.artifact(variant)
      let fault = await #expect(throws: Fault.self) { try await test.host.probe(artifact, config: "") }
      #expect(fault?.reason == .pluginProbeFailed)
      #expect(fault?.message.contains(words) == true, "\(fault?.message ?? "")")
      // A probe strikes nothing and quarantines nothing.
      #expect(test.host.status(artifact.manifest.reference) == nil)
    }
  }

  @Test func withoutTheHostProgramNothingIsRun() async throws {
    try await TestHost.with({ $0.hostProgram = "/nowhere/skein-plugin-host" }) { test in
      let artifact = try await TestPlugin.artifact(.good, grants: [.inProcess])
      let fault = await #expect(throws: Fault.self) { try await test.host.probe(artifact, config: "") }
      #expect(fault?.reason == .pluginProbeFailed)
      #expect(fault?.message.contains("/nowhere/skein-plugin-host cannot be started") == true)
      // Not even where the broker may load it itself: it would be untried.
      await #expect(throws: Fault.self) {
        try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      }
    }
  }

  @Test(arguments: [
    (TestPlugin.Variant.crashInCall, "crash", "signal 11 (SIGSEGV"),
    (.exit, "crash", "ended with code 3"),
    (.fork, "forbidden-call", "may make: clone (a new process)"),
    (.killsParent, "forbidden-call", "may make: kill of another process"),
    (.hang, "hang", "no answer for 1 records within"),
    (.forgedFrames, "malformed", "a frame of 4294967295 bytes"),
  ])
  func whatKillsAChildIsNamedAndTheNextOneServes(
    _ variant: TestPlugin.Variant, _ kind: String, _ words: String
  ) async throws {
    try await TestHost.with({ if variant == .hang { $0.partitionerDeadlineMilliseconds = 300 } }) { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(variant), config: "", usedBy: "topic orders")
      let first = try #require(test.host.status(partitioner.reference)).processID
      if variant != .hang {
        #expect(try await partitioner.place(PlacementBatch(["a"]), test).get().count == 1)
      }

      let failed = await partitioner.place(PlacementBatch(["boom"]), test)
      guard case .failure(let fault) = failed else { throw Missing(what: "a fault") }
      #expect(fault.reason == .pluginFault)
      #expect(fault.metadata["fault"] == kind)
      #expect(fault.message.contains(words), "\(fault.message)")

      let clock = ContinuousClock()
      let died = clock.now
      var served = false
      while !served {
        switch await partitioner.place(PlacementBatch(["a"]), test) {
        case .success: served = true
        case .failure(let fault):
          #expect([.partitionerUnavailable, .pluginFault].contains(fault.reason))
          try await Task.sleep(for: .milliseconds(2))
        }
        try #require(clock.now - died < .seconds(10))
      }
      print("\(variant): back in service after \(clock.now - died)")
      let status = try #require(test.host.status(partitioner.reference))
      #expect(status.restarts == 1)
      #expect(status.strikes == 1)
      #expect(status.processID != first)
      #expect(status.faults.map(\.kind.rawValue) == [kind])
      #expect(status.faults.first?.usedBy == "topic orders")
      #expect(kill(first, 0) != 0, "the dead child was buried")
    }
  }

  @Test(arguments: [(TestPlugin.Variant.wrongRange, "boom"), (.forgets, "abcd")])
  func answersOutOfRangeNeverReachTheBroker(_ variant: TestPlugin.Variant, _ key: String) async throws {
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(variant), config: "", usedBy: "topic orders")
      let result = await partitioner.place(PlacementBatch(["x", key]), test)
      guard case .failure(let fault) = result else { throw Missing(what: "a fault") }
      #expect(fault.reason == .pluginFault)
      #expect(fault.message.contains("answers lie outside 0..<8"))
      #expect(partitioner.counts.outOfRange == 1)
      // The child is as it was: it did not crash.
      #expect(test.host.status(partitioner.reference)?.restarts == 0)
    }
  }

  @Test(arguments: [
    (TestPlugin.Variant.memory, PluginFaultRecord.Kind.memory), (.threads, .threads),
  ])
  func whatTakesTooMuchIsEnded(_ variant: TestPlugin.Variant, _ kind: PluginFaultRecord.Kind) async throws {
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(variant), config: "", usedBy: "topic orders")
      _ = await partitioner.place(PlacementBatch(["boom"]), test)
      try await TestHost.eventually("the fault \(kind)") {
        test.host.status(partitioner.reference)?.faults.isEmpty == false
      }
      #expect(test.host.status(partitioner.reference)?.faults.map(\.kind) == [kind])
    }
  }

  /// The sandbox: no socket, no file for writing; printing a lot neither blocks nor kills.
  @Test(arguments: [TestPlugin.Variant.network, .writesFile])
  func theSandboxRefuses(_ variant: TestPlugin.Variant) async throws {
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(variant), config: "", usedBy: "topic orders")
      #expect(try await partitioner.place(PlacementBatch(["boom"]), test).get() == [1])
      #expect(access("/tmp/skein-plugin-wrote-this", F_OK) != 0)
    }
  }

  /// Landlock, where the kernel has it: only what the manifest names is read.
  @Test func filesAreReadWhereTheManifestSaysSo() async throws {
    try await TestHost.with { test in
      let report = try await test.host.probe(try await TestPlugin.artifact(.readsFile), config: "")
      guard report.landlock > 0 else { return print("no Landlock here") }
      for (paths, answer) in [([String](), Int32(1)), (["/etc/passwd"], 2)] {
        let hash = String(repeating: answer == 1 ? "1" : "2", count: 64)
        let partitioner = try await test.host.partitioner(
          try await TestPlugin.artifact(.readsFile, paths: paths, hash: hash), config: "",
          usedBy: "topic orders")
        #expect(try await partitioner.place(PlacementBatch(["boom"]), test).get() == [answer])
      }
    }
  }

  /// Root may give children a user of their own; who is not root is told that it may not.
  @Test func childrenBecomeAnotherUser() async throws {
    try await TestHost.with({ $0.childUser = .init(uid: 65_534, gid: 65_534) }) { test in
      do {
        let partitioner = try await test.host.partitioner(
          try await TestPlugin.artifact(.good), config: "", usedBy: "topic orders")
        #expect(geteuid() == 0)
        let pid = try #require(test.host.status(partitioner.reference)).processID
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        #expect(status.contains("Uid:\t65534\t65534\t65534\t65534"))
        #expect(status.contains("Groups:\t \n"))
        #expect(status.contains("NoNewPrivs:\t1"))
        #expect(status.contains("Seccomp:\t2"))
        #expect(try await partitioner.place(PlacementBatch(["a"]), test).get().count == 1)
      } catch let fault as Fault {
        #expect(geteuid() != 0)
        #expect(fault.message.contains("no sandbox"))
      }
    }
  }

  /// Swift's tasks need it: libdispatch traps when it cannot read the state of its own threads. The broker's memory stays
  /// closed.
  @Test func aPluginSeesTheStateOfItsThreads() async throws {
    try await TestHost.with { test in
      let artifact = try await TestPlugin.artifact(.threadState)
      let report = try await test.host.probe(artifact, config: "")
      let partitioner = try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      let seen = try await partitioner.place(PlacementBatch(["boom"]), test).get()
      if report.landlock > 0 { #expect(seen == [2]) } else { #expect(seen != [1]) }
    }
  }

  @Test func theNetworkIsAGrant() async throws {
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(.network, grants: [.network]), config: "", usedBy: "topic orders")
      #expect(try await partitioner.place(PlacementBatch(["boom"]), test).get() == [2])
    }
  }

  @Test func printingALotNeitherBlocksNorKills() async throws {
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(.prints), config: "", usedBy: "topic orders")
      #expect(try await partitioner.place(PlacementBatch(["boom"]), test).get().count == 1)
      #expect(test.host.status(partitioner.reference)?.faults.isEmpty == true)
    }
  }

  // MARK: Strikes and quarantine

  @Test func threeStrikesQuarantineAlsoAfterARestartUntilReleased() async throws {
    let folder = TestHost.newFolder()
    let artifact = try await TestPlugin.artifact(.crashInCall)
    try await TestHost.with(in: folder, keep: true) { test in
      let partitioner = try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      for _ in 0..<3 { try await test.crash(partitioner) }
      try await TestHost.eventually("quarantine") {
        test.host.status(partitioner.reference)?.quarantined != nil
      }
      guard case .failure(let fault) = await partitioner.place(PlacementBatch(["a"]), test) else {
        throw Missing(what: "a fault")
      }
      #expect(fault.reason == .pluginQuarantined)
      #expect(fault.message.contains("skein plugin release com.acme.test@1.0.0"))
      #expect(test.quarantined.all.count == 1)
      #expect(
        test.log.all.contains {
          $0.hasPrefix("error plug-in quarantined") && $0.contains("com.acme.test@1.0.0")
        })
      #expect(
        test.host.metrics().contains {
          $0.hasPrefix("skein_plugin_quarantined{plugin=\"com.acme.test\",version=\"1.0.0\"")
            && $0.hasSuffix(" 1")
        })
    }
    try await TestHost.with(in: folder) { test in
      #expect(test.host.status(artifact.manifest.reference)?.quarantined?.contains("3 strikes") == true)
      let fault = await #expect(throws: Fault.self) {
        try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      }
      #expect(fault?.reason == .pluginQuarantined)
      try test.host.release(artifact.sha256)
      let partitioner = try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      #expect(try await partitioner.place(PlacementBatch(["a"]), test).get().count == 1)
    }
  }

  @Test func strikesAreForgottenAfterTenMinutes() async throws {
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try await TestPlugin.artifact(.crashInCall), config: "", usedBy: "topic orders")
      for _ in 0..<4 {
        try await test.crash(partitioner)
        test.time.advance(seconds: 301)
      }
      #expect(test.host.status(partitioner.reference)?.quarantined == nil)
      #expect(test.host.status(partitioner.reference)?.strikes == 1)
    }
  }

  @Test func aReleaseServesInstancesThatAreStillHeld() async throws {
    try await TestHost.with { test in
      let artifact = try await TestPlugin.artifact(.crashInCall)
      let partitioner = try await test.host.partitioner(artifact, config: "", usedBy: "topic orders")
      for _ in 0..<3 { try await test.crash(partitioner) }
      try await TestHost.eventually("quarantine") { test.quarantined.all.count == 1 }
      try test.host.release(artifact.sha256)
      try await test.served(partitioner)
      #expect(throws: Fault.self) { try test.host.release(String(repeating: "f", count: 64)) }
    }
  }

  @Test func aWrongKindIsSaidBeforeAnythingRuns() async throws {
    try await TestHost.with { test in
      let artifact = try await TestPlugin.artifact(.good)
      let fault = await #expect(throws: Fault.self) {
        try await test.host.authenticator(artifact, config: "", usedBy: "listener")
      }
      #expect(fault?.reason == .pluginWrongKind)
      #expect(test.host.status(artifact.manifest.reference)?.processID == 0)
    }
  }
}

struct Missing: Error { let what: String }

extension TestHost {
  /// Makes the plug-in crash in a call, as soon as it serves again.
  func crash(_ partitioner: any PartitionerInstance) async throws {
    try await served(partitioner)
    guard case .failure(let fault) = await partitioner.place(PlacementBatch(["boom"]), self) else {
      throw Missing(what: "a crash")
    }
    #expect(fault.reason == .pluginFault)
  }

  func served(_ partitioner: any PartitionerInstance) async throws {
    for _ in 0..<1_000 {
      if case .success = await partitioner.place(PlacementBatch(["a"]), self) { return }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw Missing(what: "service")
  }
}
