import MetadataStore
import SkeinCore
import Testing

extension ConformanceTests {
  /// What is particular to etcd: that our rules are its own. Inside the
  /// conformance suite because it uses the same server, one test at a time.
  @Suite(.enabled(if: EtcdServer.isInstalled, "Debian's etcd-server is not installed: \(EtcdServer.path)"))
  struct EtcdStoreTests {
    /// The same refusals as in the conformance suite, made by etcd itself.
    @Test func etcdRefusesWhatWeRefuse() async throws {
      var configuration = EtcdStore.Configuration()
      configuration.refusesBeforeSending = false
      try await EtcdServer.withStore(configuration: configuration) { t in
        func refused(_ transaction: Transaction) async -> MetadataError.Kind? {
          await refusal { _ = try await t.store.transact(transaction) }
        }
        let a = t.key("a")
        let put = Operation.put(key: a, value: [])
        #expect(await refused(Transaction(then: [put, put])) == .duplicateKey)
        #expect(await refused(Transaction(then: [put, .delete(t.keys())])) == .duplicateKey)
        #expect(await refused(Transaction(then: [.put(key: [], value: [])])) == .emptyKey)
        #expect(await refused(Transaction(if: [.absent([])], then: [])) == .emptyKey)
        let many = (0..<129).map { Operation.put(key: t.key("\($0)"), value: []) }
        #expect(await refused(Transaction(then: many)) == .tooManyOperations)
        let large = [UInt8](repeating: 1, count: MetadataLimits.requestBytes)
        #expect(await refused(Transaction(then: [.put(key: a, value: large)])) == .requestTooLarge)
        let left = try await t.store.range(RangeRequest(t.keys()))
        #expect(left.count == 0)
      }
    }

    @Test func aClosedConnectionEndsWatchesAndRefuses() async throws {
      try await EtcdServer.withStore { t in
        let watch = try await t.store.watch(WatchRequest(t.keys()))
        async let ended = refusal { _ = try await ConformanceTests().take(1, of: watch) }
        await Task.yield()
        await t.store.close()
        #expect(await ended == .unavailable)
        #expect(await refusal { _ = try await t.store.get(t.key("a")) } == .unavailable)
        do throws(MetadataError) {
          try await t.store.put(t.key("a"), [])
        } catch {
          #expect(error.kind == .unavailable, "\(error)")
          #expect(error.outcome == .definite, "it was never sent: \(error)")
        }
      }
    }

    /// One revision larger than etcd's answer limit comes in parts and is told as one.
    @Test func aRevisionInPartsIsToldWhole() async throws {
      try await EtcdServer.withStore { t in
        let value = [UInt8](repeating: 7, count: 700_000)
        let keys = (0..<6).map { t.key("\($0)") }
        for key in keys { try await t.store.put(key, value) }
        let watch = try await t.store.watch(WatchRequest(t.keys(), previous: true))
        let revision = try await t.store.transact(Transaction(then: [.delete(t.keys())])).revision
        let update = try #require(try await ConformanceTests().take(1, of: watch).first)
        #expect(update.revision == revision)
        #expect(update.events.map(\.keyValue.key) == keys)
        #expect(update.events.allSatisfy { $0.previous?.value == value })
      }
    }
  }
}
