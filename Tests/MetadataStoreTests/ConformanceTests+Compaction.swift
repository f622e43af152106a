import MetadataStore
import Testing

extension ConformanceTests {
  @Test(arguments: Backend.available)
  func compactionForgetsThePastOnly(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let one = try await t.store.put(t.key("a"), bytes("1"))
      try await t.store.put(t.key("gone"), bytes("x"))
      try await t.store.delete(.key(t.key("gone")))
      let three = try await t.store.put(t.key("a"), bytes("3"))
      let four = try await t.store.put(t.key("a"), bytes("4"))
      try await t.store.compact(at: three)

      #expect(
        try await t.store.range(RangeRequest(t.keys(), revision: three)).keyValues.map(\.value) == [
          bytes("3")
        ])
      #expect(try await t.store.get(t.key("a"))?.version == 3)
      let refused = await refusal {
        _ = try await t.store.range(RangeRequest(t.keys(), revision: Revision(three.rawValue - 1)))
      }
      #expect(isCompacted(refused))
      #expect(isCompacted(await refusal { try await t.store.compact(at: three) }))
      #expect(isCompacted(await refusal { try await t.store.compact(at: one) }))
      #expect(await refusal { try await t.store.compact(at: four.next) } == .futureRevision)
      #expect(try await t.revision() == four, "compaction took a revision")

      let updates = try await take(
        2, of: try await t.store.watch(WatchRequest(t.keys(), from: three, previous: true)))
      #expect(updates.map(\.revision) == [three, four])
      #expect(updates[1].events[0].previous?.value == bytes("3"))
    }
  }

  @Test(arguments: Backend.available)
  func aWatchOfCompactedRevisionsIsToldTheOldest(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let one = try await t.store.put(t.key("a"), bytes("1"))
      let two = try await t.store.put(t.key("a"), bytes("2"))
      try await t.store.put(t.key("a"), bytes("3"))
      try await t.store.compact(at: two)
      let kind = await refusal {
        _ = try await take(1, of: try await t.store.watch(WatchRequest(t.keys(), from: one)))
      }
      #expect(kind == .compacted(at: two))
    }
  }

  @Test(arguments: Backend.available)
  func compactionAtTheNewestRevisionKeepsIt(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      try await t.store.put(t.key("a"), bytes("1"))
      try await t.store.delete(.key(t.key("a")))
      let newest = try await t.revision()
      try await t.store.compact(at: newest)
      #expect(try await t.revision() == newest)
      #expect(try await t.store.put(t.key("a"), []) == newest.next)
      #expect(try await t.store.get(t.key("a"))?.version == 1)
    }
  }
}
