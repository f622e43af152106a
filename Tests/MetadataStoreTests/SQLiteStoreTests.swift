import CommitLog
import MetadataStore
import Simulation
import SkeinCore
import Testing

/// What is particular to the SQLite store.
@Suite(.timeLimit(.minutes(1)))
struct SQLiteStoreTests {
  private let a = Array("a".utf8)

  private func open(
    _ disk: any Disk, time: SimulatedTime = SimulatedTime(), retained: Int64 = 10_000
  ) async throws(MetadataError) -> SQLiteStore {
    var configuration = SQLiteStore.Configuration()
    configuration.retainedRevisions = retained
    return try await SQLiteStore.open(
      disk: disk, path: "metadata.db", configuration: configuration, time: time,
      random: SeededRandom(seed: 1))
  }

  @Test func aSecondOpenerIsRefused() async throws {
    try await withTemporaryDisk { disk in
      let store = try await open(disk)
      #expect(await refusal { _ = try await open(disk) } == .locked)
      #expect(try await store.put(a, []) == Revision(2))
      await store.close()
      await (try await open(disk)).close()
    }
    let disk = SimulatedDisk(seed: 1)
    let store = try await open(disk)
    #expect(await refusal { _ = try await open(disk) } == .locked)
    await store.close()
    await (try await open(disk)).close()
  }

  @Test func everythingIsThereAgainAfterARestart() async throws {
    try await withTemporaryDisk { disk in
      let time = SimulatedTime()
      var store = try await open(disk, time: time)
      let lease = try await store.grantLease(timeToLive: 10, id: .none)
      try await store.put(a, Array("1".utf8), lease: lease.id)
      let two = try await store.put(a, Array("2".utf8), lease: lease.id)
      let three = try await store.put(a, Array("3".utf8), lease: lease.id)
      try await store.compact(at: two)
      time.advance(milliseconds: 9_000)
      await store.close()

      store = try await open(disk, time: time)
      #expect(try await store.range(RangeRequest(.all)).revision == three)
      #expect(
        try await store.range(RangeRequest(.all, revision: two)).keyValues.map(\.value) == [Array("2".utf8)])
      #expect(
        await refusal { _ = try await store.range(RangeRequest(.all, revision: Revision(2))) }
          == .compacted(at: two))
      // The lease begins anew: how long the store was down is not known.
      time.advance(milliseconds: 9_000)
      #expect(try await store.get(a)?.lease == lease.id)
      time.advance(milliseconds: 2_000)
      #expect(try await store.get(a) == nil, "a lease outlived its time")
      #expect(try await store.range(RangeRequest(.all)).revision == three.next)
      // Nothing is left but the trace of a deletion: it still tells the revision.
      try await store.compact(at: three.next)
      await store.close()
      store = try await open(disk, time: time)
      #expect(try await store.range(RangeRequest(.all)).revision == three.next)
      await store.close()
    }
  }

  @Test func aCallerSeesNoLeaseAliveAfterItsTime() async throws {
    let time = SimulatedTime()
    let store = try await open(SimulatedDisk(seed: 1), time: time)
    let lease = try await store.grantLease(timeToLive: 5, id: .none)
    try await store.put(a, [], lease: lease.id)
    time.advance(milliseconds: 4_999)
    #expect(try await store.transact(Transaction(if: [.absent(a)], then: [])).succeeded == false)
    time.jump(milliseconds: 86_400_000)
    #expect(try await store.timeToLive(lease.id, keys: false).remaining == 0, "wall time ended a lease")
    #expect(try await store.get(a) != nil)
    time.advance(milliseconds: 1)
    // Nobody asked the store to look for ended leases: the call itself does.
    #expect(try await store.transact(Transaction(if: [.absent(a)], then: [])).succeeded)
    await store.close()
  }

  @Test func historyIsBoundedByItself() async throws {
    let disk = SimulatedDisk(seed: 1)
    let store = try await open(disk, retained: 100)
    for at in 0..<1_000 { try await store.put(a, Array("\(at)".utf8)) }
    let newest = try await store.range(RangeRequest(.all)).revision
    let old = Revision(newest.rawValue - 201)
    let kind = await refusal { _ = try await store.range(RangeRequest(.all, revision: old)) }
    guard case .compacted(let at) = kind else { throw Mismatch("\(String(describing: kind))") }
    #expect((100...201).contains(newest.rawValue - at.rawValue))
    _ = try await store.range(RangeRequest(.all, revision: Revision(newest.rawValue - 100)))
    await store.close()
    #expect(try #require(disk.contents("metadata.db")).count < 200_000)
  }

  @Test func aWatchThatCompactionOvertakesIsToldSo() async throws {
    let store = try await open(SimulatedDisk(seed: 1), retained: 0)
    let first = try await store.put(a, [])
    var slow = try await store.watch(WatchRequest(.all, from: first)).makeAsyncIterator()
    let unconcerned = try await store.watch(WatchRequest(.key("x"), from: first))
    async let waiting = ConformanceTests().take(1, of: unconcerned)
    while try await store.waitingWatches() == 0 { await Task.yield() }
    #expect(try await slow.next()?.revision == first)
    var last = first
    for _ in 0..<10 { last = try await store.put(a, []) }
    try await store.compact(at: last)
    #expect(await refusal { _ = try await slow.next() } == .compacted(at: last))
    // One that waits for its first event is not behind, however much happens elsewhere.
    let concerned = try await store.put(Array("x".utf8), [])
    #expect(try await waiting.map(\.revision) == [concerned])
    await store.close()
  }

  @Test func afterCloseEverythingIsRefusedAndWatchesEnd() async throws {
    let store = try await open(SimulatedDisk(seed: 1))
    let watch = try await store.watch(WatchRequest(.all))
    async let ended = refusal { _ = try await ConformanceTests().take(1, of: watch) }
    while try await store.waitingWatches() == 0 { await Task.yield() }
    await store.close()
    #expect(await ended == .closed)
    #expect(await refusal { try await store.put(a, []) } == .closed)
    #expect(await refusal { _ = try await store.watch(WatchRequest(.all)) } == .closed)
    await store.close()
  }

  @Test func watchesAndAnswersAreBounded() async throws {
    let store = try await open(SimulatedDisk(seed: 1))
    var watches: [MetadataWatch] = []
    for _ in 0..<MetadataLimits.watches { watches.append(try await store.watch(WatchRequest(.all))) }
    #expect(await refusal { _ = try await store.watch(WatchRequest(.all)) } == .overloaded)
    watches.removeAll()
    _ = try await store.watch(WatchRequest(.all))

    let large = [UInt8](repeating: 0, count: 1 << 20)
    for at in 0...64 { try await store.put(Array("\(at)".utf8), large) }
    #expect(await refusal { _ = try await store.range(RangeRequest(.all)) } == .resultTooLarge)
    #expect(try await store.range(RangeRequest(.all, limit: 3)).keyValues.count == 3)
    #expect(try await store.range(RangeRequest(.all, keysOnly: true)).count == 65)
    await store.close()
  }

  private struct Mismatch: Error { init(_ what: String) { Issue.record("\(what)") } }
}
