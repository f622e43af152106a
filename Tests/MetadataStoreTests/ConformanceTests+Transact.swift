import MetadataStore
import Testing

extension ConformanceTests {
  @Test(arguments: Backend.available)
  func allComparesMustHold(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let (a, b) = (t.key("a"), t.key("b"))
      try await t.store.put(a, bytes("old"))
      let mod = try await t.store.put(a, bytes("m"))
      let create = Revision(mod.rawValue - 1)

      func holds(_ compares: Compare...) async throws -> Bool {
        let result = try await t.store.transact(Transaction(if: compares, then: []))
        #expect(result.revision == mod, "a transaction without changes took a revision")
        return result.succeeded
      }
      // Actual value, then targets below, equal and above it, each with every relation.
      let numbers: [(Compare.Target, Compare.Target, Compare.Target)] = [
        (.modRevision(create), .modRevision(mod), .modRevision(mod.next)),
        (.createRevision(.zero), .createRevision(create), .createRevision(mod)),
        (.version(1), .version(2), .version(3)),
        (.value(bytes("b")), .value(bytes("m")), .value(bytes("ma"))),
      ]
      for (below, equal, above) in numbers {
        for (target, order) in [(below, 1), (equal, 0), (above, -1)] {
          #expect(try await holds(Compare(a, .equal, target)) == (order == 0))
          #expect(try await holds(Compare(a, .notEqual, target)) == (order != 0))
          #expect(try await holds(Compare(a, .greater, target)) == (order > 0))
          #expect(try await holds(Compare(a, .less, target)) == (order < 0))
        }
      }
      // An absent key is at zero, and no compare of its value holds.
      #expect(try await holds(.absent(b)))
      #expect(try await holds(Compare(b, .equal, .modRevision(.zero)), Compare(b, .less, .version(1))))
      for relation in Compare.Relation.allCases {
        #expect(try await !holds(Compare(b, relation, .value([]))))
      }
      #expect(try await !holds(.absent(b), .absent(a)))
      #expect(try await !holds(.absent(a), .absent(b)))
      #expect(try await holds())
    }
  }

  @Test(arguments: Backend.available)
  func oneTransactionTakesOneRevisionAndSeesItself(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let (a, b, c) = (t.key("a"), t.key("b"), t.key("c"))
      try await t.store.put(a, bytes("1"))
      let before = try await t.store.put(b, bytes("1"))
      let result = try await t.store.transact(
        Transaction(
          if: [.absent(a)], then: [.put(key: a, value: bytes("wrong"))],
          else: [
            .range(RangeRequest(t.keys())),
            .put(key: a, value: bytes("2"), previous: true),
            .put(key: c, value: bytes("2"), previous: true),
            .delete(.key(b), previous: true),
            .delete(.key(t.key("none")), previous: true),
            .range(RangeRequest(t.keys())),
          ]))
      #expect(!result.succeeded)
      #expect(result.revision == before.next)
      #expect(result.results.count == 6)
      guard case .range(let first) = result.results[0], case .range(let last) = result.results[5] else {
        Issue.record("results out of order")
        return
      }
      #expect(first.keyValues.map(\.value) == [bytes("1"), bytes("1")])
      #expect(last.keyValues.map(\.key) == [a, c])
      #expect(last.keyValues.allSatisfy { $0.modRevision == result.revision })
      guard case .put(let previous) = result.results[1], case .put(nil) = result.results[2],
        case .delete(1, let deleted) = result.results[3], case .delete(0, []) = result.results[4]
      else {
        Issue.record("\(result.results)")
        return
      }
      #expect(previous?.value == bytes("1") && previous?.version == 1)
      #expect(deleted.map(\.key) == [b] && deleted.map(\.value) == [bytes("1")])
    }
  }

  @Test(arguments: Backend.available)
  func aDeletionOfNothingTakesNoRevision(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let before = try await t.store.put(t.key("a"), [])
      #expect(try await t.store.delete(t.keys("x")) == 0)
      #expect(try await t.revision() == before)
      #expect(try await t.store.delete(t.keys()) == 1)
      #expect(try await t.revision() == before.next)
    }
  }

  @Test(arguments: Backend.available)
  func badTransactionsAreRefusedWhole(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      let before = try await t.store.put(t.key("a"), bytes("1"))
      let a = t.key("a")
      func refused(_ transaction: Transaction) async -> MetadataError.Kind? {
        await refusal { _ = try await t.store.transact(transaction) }
      }
      let put = Operation.put(key: a, value: bytes("2"))
      #expect(await refused(Transaction(then: [put, put])) == .duplicateKey)
      #expect(await refused(Transaction(then: [put, .delete(t.keys())])) == .duplicateKey)
      #expect(await refused(Transaction(then: [], else: [.delete(.key(a)), put])) == .duplicateKey)
      #expect(await refused(Transaction(then: [.put(key: [], value: [])])) == .emptyKey)
      #expect(await refused(Transaction(then: [.range(RangeRequest(.key([])))])) == .emptyKey)
      #expect(await refused(Transaction(if: [.absent([])], then: [])) == .emptyKey)
      #expect(
        await refused(Transaction(then: [put, .range(RangeRequest(t.keys(), revision: Revision(1 << 40)))]))
          == .futureRevision)
      #expect(
        await refused(Transaction(then: [put, .put(key: t.key("b"), value: [], lease: LeaseID(99))]))
          == .leaseNotFound)
      #expect(try await t.revision() == before)
      #expect(try await t.store.get(a)?.value == bytes("1"))
      // The same key in both lists is fine, and so are two deletions that overlap.
      let fine = Transaction(then: [put], else: [put])
      #expect(try await t.store.transact(fine).succeeded)
      let overlap = Transaction(then: [.delete(.key(a)), .delete(t.keys())])
      #expect(
        try await t.store.transact(overlap).results == [
          .delete(count: 1, previous: []), .delete(count: 0, previous: []),
        ])
    }
  }

  @Test(arguments: Backend.available)
  func theLimitsAreEtcds(_ backend: Backend) async throws {
    try await withStore(backend) { t in
      func puts(_ count: Int) -> [Operation] {
        (0..<count).map { .put(key: t.key("n\($0)"), value: []) }
      }
      #expect(try await t.store.transact(Transaction(then: puts(128))).succeeded)
      let tooMany = MetadataError.Kind.tooManyOperations
      #expect(await refusal { _ = try await t.store.transact(Transaction(then: puts(129))) } == tooMany)
      #expect(
        await refusal { _ = try await t.store.transact(Transaction(then: [], else: puts(129))) } == tooMany)
      let compares = (0..<129).map { Compare.absent(t.key("c\($0)")) }
      #expect(
        await refusal { _ = try await t.store.transact(Transaction(if: compares, then: [])) } == tooMany)

      let large = [UInt8](repeating: 7, count: MetadataLimits.requestBytes - 1_024)
      try await t.store.put(t.key("large"), large)
      #expect(try await t.store.get(t.key("large"))?.value == large)
      let tooLarge = [UInt8](repeating: 7, count: MetadataLimits.requestBytes)
      #expect(await refusal { try await t.store.put(t.key("larger"), tooLarge) } == .requestTooLarge)
      #expect(try await t.store.get(t.key("larger")) == nil)
    }
  }
}
