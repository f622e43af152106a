import PluginPackage
import SkeinCore
import Testing

@testable import PluginHost

/// Good plug-ins in real children.
@Suite(.timeLimit(.minutes(1))) struct ChildTests {
  @Test func placesRecordsInAChild() async throws {
    try await TestHost.with { test in
      let partitioner = try await test.host.partitioner(
        try TestPlugin.artifact(.good), config: "", usedBy: "topic orders")
      let placed = try await partitioner.place(PlacementBatch(["a", nil, "b", ""]), test).get()
      #expect(placed == [fnv("a", 8), -1, fnv("b", 8), fnv("", 8)])
      #expect(partitioner.counts.calls == 1)
      #expect(partitioner.counts.records == 4)
      let status = try #require(test.host.status(partitioner.reference))
      #expect(status.processID > 0)
      #expect(status.placement == .child)
    }
  }

  /// FNV-1a, as the plug-in has it.
  private func fnv(_ key: String, _ count: UInt32) -> Int32 {
    var hash: UInt32 = 2_166_136_261
    for byte in key.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
    return Int32(hash % count)
  }
}
