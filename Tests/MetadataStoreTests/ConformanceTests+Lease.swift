import MetadataStore
import Testing

extension ConformanceTests {
  @Test(arguments: Backend.available)
  func anEndedLeaseDeletesItsKeysInOneRevision(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let grant = try await t.store.grantLease(timeToLive: 2, id: .none)
      #expect(grant.timeToLive >= 2 && grant.id != .none)
      for name in ["a", "b", "c"] { try await t.store.put(t.key(name), bytes("x"), lease: grant.id) }
      // A later put without the lease sets the key free.
      try await t.store.put(t.key("c"), bytes("free"))
      let last = try await t.store.put(t.key("d"), bytes("never bound"))
      let watch = try await t.store.watch(WatchRequest(t.keys()))

      try await t.advance(1)
      #expect(try await t.store.get(t.key("a"))?.lease == grant.id)
      try await t.advance(grant.timeToLive + 1)
      let update = try #require(try await take(1, of: watch).first)
      #expect(update.revision == last.next)
      #expect(update.events.map(\.kind) == [.delete, .delete])
      #expect(Set(update.events.map(\.keyValue.key)) == [t.key("a"), t.key("b")])
      #expect(
        try await t.store.range(RangeRequest(t.keys())).keyValues.map(\.key) == [t.key("c"), t.key("d")])
      #expect(await refusal { _ = try await t.store.keepAlive(grant.id) } == .leaseNotFound)
      #expect(
        await refusal { _ = try await t.store.timeToLive(grant.id, keys: false) } == .leaseNotFound)
    }
  }

  @Test(arguments: Backend.available)
  func keepAliveKeeps(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let grant = try await t.store.grantLease(timeToLive: 2, id: LeaseID(4_711))
      #expect(grant.id == LeaseID(4_711))
      try await t.store.put(t.key("a"), [], lease: grant.id)
      for _ in 0..<3 {
        try await t.advance(1)
        #expect(try await t.store.keepAlive(grant.id) == grant.timeToLive)
      }
      let status = try await t.store.timeToLive(grant.id, keys: true)
      #expect(status.grantedTimeToLive == grant.timeToLive && status.keys == [t.key("a")])
      #expect((1...grant.timeToLive).contains(status.remaining))
      #expect(try await t.store.get(t.key("a")) != nil)
      try await t.store.revoke(grant.id)
    }
  }

  @Test(arguments: Backend.available)
  func revocationIsOneRevisionOrNone(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let empty = try await t.store.grantLease(timeToLive: 100, id: .none)
      let full = try await t.store.grantLease(timeToLive: 100, id: .none)
      try await t.store.put(t.key("a"), [], lease: full.id)
      let before = try await t.store.put(t.key("b"), [], lease: full.id)
      try await t.store.revoke(empty.id)
      #expect(try await t.revision() == before)
      try await t.store.revoke(full.id)
      #expect(try await t.revision() == before.next)
      #expect(try await t.store.range(RangeRequest(t.keys())).count == 0)
      #expect(await refusal { try await t.store.revoke(full.id) } == .leaseNotFound)
      #expect(await refusal { try await t.store.put(t.key("a"), [], lease: full.id) } == .leaseNotFound)
    }
  }

  @Test(arguments: Backend.available)
  func badLeasesAreRefused(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let grant = try await t.store.grantLease(timeToLive: 60, id: .none)
      #expect(
        await refusal { _ = try await t.store.grantLease(timeToLive: 60, id: grant.id) } == .leaseExists)
      let tooLong = MetadataLimits.mostLeaseSeconds + 1
      #expect(
        await refusal { _ = try await t.store.grantLease(timeToLive: tooLong, id: .none) } == .leaseTooLong)
      try await t.store.revoke(grant.id)
    }
  }
}
