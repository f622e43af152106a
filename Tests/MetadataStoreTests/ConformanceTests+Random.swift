import MetadataStore
import Simulation
import Testing

extension ConformanceTests {
  /// Random transactions on few keys, each answer compared with the model's; then the whole history
  /// by watch and by reading every revision.
  @Test(arguments: Backend.available, [UInt64(1), 2, 3])
  func randomTransactionsAgreeWithTheModel(_ backend: Backend, seed: UInt64) async throws {
    let random = SeededRandom(seed: seed)
    try await withStore(backend) { t in
      var model = Model(revision: try await t.revision())
      let start = model.revision
      let first = start.next
      let steps = 150
      for step in 0..<steps {
        let transaction = random.transaction(t.key, newest: model.revision, oldest: start)
        do throws(MetadataError) {
          let answer = try await t.store.transact(transaction)
          #expect(answer == model.apply(transaction), "seed \(seed), step \(step): \(transaction)")
        } catch {
          #expect(error.kind == model.refusal(transaction), "seed \(seed), step \(step): \(error)")
        }
      }
      #expect(model.history.count > steps / 4, "the seed makes too few changes")
      let watch = try await t.store.watch(WatchRequest(t.keys(), from: first, previous: true))
      let seen = try await take(model.history.count, of: watch)
      #expect(seen == model.history, "seed \(seed)")
      for update in model.history {
        let state = try await t.store.range(RangeRequest(t.keys(), revision: update.revision))
        #expect(state.keyValues == model.states[update.revision], "seed \(seed)")
      }
    }
  }

  /// Counters that many tasks raise by compare-and-swap: no update is lost and none is made twice.
  @Test(arguments: Backend.available)
  func concurrentCompareAndSwapLosesNothing(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let (tasks, increments) = (6, 25)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<tasks {
          group.addTask { for _ in 0..<increments { try await increment(t.key("counter"), t.store) } }
        }
        try await group.waitForAll()
      }
      let counter = try #require(try await t.store.get(t.key("counter")))
      #expect(counter.value == bytes("\(tasks * increments)"))
      #expect(counter.version == Int64(tasks * increments))
    }
  }

  private func increment(_ key: [UInt8], _ store: any MetadataStore) async throws {
    while true {
      let now = try await store.get(key)
      let value = (now.flatMap { Int(String(decoding: $0.value, as: UTF8.self)) } ?? 0) + 1
      let unchanged = Compare.unchanged(key, since: now?.modRevision ?? .zero)
      let result = try await store.transact(
        Transaction(if: [unchanged], then: [.put(key: key, value: bytes("\(value)"))]))
      if result.succeeded { return }
    }
  }
}
