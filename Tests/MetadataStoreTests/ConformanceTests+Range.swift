import MetadataStore
import Testing

extension ConformanceTests {
  @Test(arguments: Backend.available)
  func aPutIsReadBackWithItsRevisionsAndVersion(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let before = try await t.revision()
      let first = try await t.store.put(t.key("a"), bytes("1"))
      #expect(first == before.next)
      let second = try await t.store.put(t.key("a"), bytes("2"))
      #expect(second == first.next)
      let stored = try #require(try await t.store.get(t.key("a")))
      #expect(
        stored
          == KeyValue(
            key: t.key("a"), value: bytes("2"), createRevision: first, modRevision: second, version: 2))
      try await t.store.delete(.key(t.key("a")))
      #expect(try await t.store.get(t.key("a")) == nil)
      let third = try await t.store.put(t.key("a"), [])
      let again = try #require(try await t.store.get(t.key("a")))
      #expect(again.createRevision == third && again.version == 1 && again.value == [])
    }
  }

  @Test(arguments: Backend.available)
  func aRangeIsOrderedLimitedAndCounted(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      for name in ["d", "b", "c", "a", "ca"] { try await t.store.put(t.key(name), bytes(name)) }
      let all = try await t.store.range(RangeRequest(t.keys()))
      #expect(all.keyValues.map(\.value) == ["a", "b", "c", "ca", "d"].map(bytes))
      #expect(all.count == 5 && !all.more)
      let part = try await t.store.range(RangeRequest(t.keys("b", below: "d"), limit: 2))
      #expect(part.keyValues.map(\.key) == [t.key("b"), t.key("c")])
      #expect(part.count == 3 && part.more)
      let exact = try await t.store.range(RangeRequest(t.keys("b", below: "d"), limit: 3))
      #expect(exact.count == 3 && !exact.more)
      let names = try await t.store.range(RangeRequest(t.keys("c"), keysOnly: true))
      #expect(names.keyValues.map(\.key) == [t.key("c"), t.key("ca")])
      #expect(names.keyValues.allSatisfy { $0.value.isEmpty && $0.version == 1 })
      let count = try await t.store.range(RangeRequest(t.keys(), countOnly: true))
      #expect(count.count == 5 && count.keyValues.isEmpty)
      let none = try await t.store.range(RangeRequest(t.keys("d", below: "a")))
      #expect(none.count == 0 && none.keyValues.isEmpty)
      let open = try await t.store.range(RangeRequest(.from(t.key("c"))))
      #expect(Array(open.keyValues.prefix(3).map(\.key)) == [t.key("c"), t.key("ca"), t.key("d")])
    }
  }

  @Test(arguments: Backend.available)
  func aPastRevisionShowsThePast(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let one = try await t.store.put(t.key("a"), bytes("1"))
      let two = try await t.store.put(t.key("b"), bytes("2"))
      try await t.store.put(t.key("a"), bytes("3"))
      try await t.store.delete(.key(t.key("b")))
      let newest = try await t.revision()

      let atOne = try await t.store.range(RangeRequest(t.keys(), revision: one))
      #expect(atOne.keyValues.map(\.value) == [bytes("1")])
      #expect(atOne.revision == newest)
      let atTwo = try await t.store.range(RangeRequest(t.keys(), limit: 1, revision: two))
      #expect(atTwo.keyValues.map(\.value) == [bytes("1")])
      #expect(atTwo.count == 2 && atTwo.more)
      let atTwoCount = try await t.store.range(RangeRequest(t.keys(), revision: two, countOnly: true))
      #expect(atTwoCount.count == 2)
      let now = try await t.store.range(RangeRequest(t.keys(), revision: newest))
      #expect(now.keyValues.map(\.value) == [bytes("3")])
      #expect(
        await refusal {
          _ = try await t.store.range(RangeRequest(t.keys(), revision: newest.next))
        } == .futureRevision)
    }
  }

  @Test(arguments: Backend.available)
  func bytesOfAllKindsAreKeysAndValues(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let odd: [[UInt8]] = [[0], [0, 0], [0xff], [0xff, 0xff], Array("ä\0ö".utf8), [1, 0, 2]]
      for suffix in odd { try await t.store.put(t.key("k") + suffix, suffix) }
      let read = try await t.store.range(RangeRequest(t.keys("k")))
      #expect(read.keyValues.map(\.value) == odd.sorted { $0.lexicographicallyPrecedes($1) })
      #expect(try await t.store.get(t.key("k") + [0xff])?.value == [0xff])
    }
  }
}
