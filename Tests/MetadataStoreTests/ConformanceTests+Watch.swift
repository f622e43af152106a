import MetadataStore
import Testing

extension ConformanceTests {
  /// The first updates of a watch.
  func take(_ count: Int, of watch: MetadataWatch) async throws -> [WatchUpdate] {
    var updates: [WatchUpdate] = []
    for try await update in watch {
      updates.append(update)
      if updates.count == count { break }
    }
    return updates
  }

  @Test(arguments: Backend.available)
  func aWatchTellsEveryRevisionInOrderFromThePastOn(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let first = try await t.store.put(t.key("w/a"), bytes("1"))
      try await t.store.put(t.key("other"), bytes("-"))
      let both = try await t.store.transact(
        Transaction(then: [
          .put(key: t.key("w/b"), value: bytes("2")), .delete(.key(t.key("other"))),
          .put(key: t.key("w/a"), value: bytes("2")),
        ])
      ).revision
      let watch = try await t.store.watch(WatchRequest(t.keys("w/"), from: first, previous: true))
      let deleted = try await t.store.transact(Transaction(then: [.delete(t.keys("w/"))])).revision
      let last = try await t.store.put(t.key("w/a"), bytes("3"))

      let updates = try await take(4, of: watch)
      #expect(updates.map(\.revision) == [first, both, deleted, last])
      #expect(updates[0].events.map(\.kind) == [.put])
      #expect(updates[0].events[0].previous == nil)
      #expect(updates[1].events.map(\.keyValue.key) == [t.key("w/b"), t.key("w/a")])
      #expect(updates[1].events[1].previous?.value == bytes("1"))
      #expect(updates[1].events[1].keyValue.version == 2)
      #expect(updates[2].events.map(\.kind) == [.delete, .delete])
      #expect(updates[2].events.map(\.keyValue.key) == [t.key("w/a"), t.key("w/b")])
      #expect(updates[2].events.map(\.keyValue.modRevision) == [deleted, deleted])
      #expect(updates[2].events.map { $0.previous?.value } == [bytes("2"), bytes("2")])
      #expect(updates[3].events[0].keyValue.createRevision == last)
      #expect(updates[3].events[0].previous == nil)
    }
  }

  @Test(arguments: Backend.available)
  func aWatchFromNowSeesOnlyWhatComes(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      try await t.store.put(t.key("a"), bytes("before"))
      let watch = try await t.store.watch(WatchRequest(t.keys()))
      let ahead = try await t.store.watch(
        WatchRequest(t.keys(), from: Revision(try await t.revision().rawValue + 2)))
      async let seen = take(2, of: watch)
      async let seenAhead = take(1, of: ahead)
      let one = try await t.store.put(t.key("a"), bytes("1"))
      let two = try await t.store.put(t.key("b"), bytes("2"))
      let updates = try await seen
      #expect(updates.map(\.revision) == [one, two])
      #expect(updates[0].events[0].previous == nil, "the previous value was not asked for")
      #expect(try await seenAhead.map(\.revision) == [two])
    }
  }

  @Test(arguments: Backend.available)
  func manyWatchersSeeTheSame(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let start = try await t.revision().next
      let count = 300
      try await withThrowingTaskGroup(of: [Revision].self) { group in
        for _ in 0..<4 {
          group.addTask {
            let watch = try await t.store.watch(WatchRequest(t.keys("m/"), from: start))
            return try await take(count, of: watch).map(\.revision)
          }
        }
        for at in 0..<count { try await t.store.put(t.key("m/\(at % 7)"), bytes("\(at)")) }
        let expected = (0..<count).map { Revision(start.rawValue + Int64($0)) }
        for try await revisions in group { #expect(revisions == expected) }
      }
    }
  }

  @Test(arguments: Backend.available)
  func aSlowWatcherMissesNothing(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let start = try await t.revision().next
      let watch = try await t.store.watch(WatchRequest(t.keys(), from: start))
      var iterator = watch.makeAsyncIterator()
      let (count, value) = (100, [UInt8](repeating: 1, count: 60_000))
      // Much more than a watch may hold in memory or a stream's window lets through.
      for at in 0..<count { try await t.store.put(t.key("\(at)"), value) }
      for at in 0..<count {
        let update = try await iterator.next()
        #expect(update?.revision.rawValue == start.rawValue + Int64(at))
      }
    }
  }

  @Test(arguments: Backend.available)
  func aCancelledWatchEnds(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let watch = try await t.store.watch(WatchRequest(t.keys()))
      let reader = Task { try await take(1, of: watch) }
      reader.cancel()
      #expect(try await reader.value == [])
      #expect(await refusal { _ = try await t.store.watch(WatchRequest(.key([]))) } == .emptyKey)
    }
  }
}
