import CommitLog
import MetadataStore
import Simulation
import SkeinCore
import Testing

/// What the SQLite store answers when its disk fails, and what it finds afterwards.
struct SQLiteFaultTests {
  private let a = Array("a".utf8)

  private func open(_ disk: SimulatedDisk) async throws -> SQLiteStore {
    var configuration = SQLiteStore.Configuration()
    configuration.checkpointPages = 10
    return try await SQLiteStore.open(
      disk: disk, path: "metadata.db", configuration: configuration, time: SimulatedTime(),
      random: SeededRandom(seed: 1))
  }

  /// Puts numbered values until one is refused; returns the last that was not, and the refusal.
  private func putUntilRefused(_ store: SQLiteStore, limit: Int = 400) async -> (
    last: Int, error: MetadataError?
  ) {
    for at in 1...limit {
      do {
        try await store.put(a, Array("\(at)".utf8))
      } catch { return (at - 1, error) }
    }
    return (limit, nil)
  }

  private func value(_ store: SQLiteStore) async throws -> Int {
    try await store.get(a).flatMap { Int(String(decoding: $0.value, as: UTF8.self)) } ?? 0
  }

  @Test(arguments: [DiskOperation.Kind.write, .sync], Array(0..<12))
  func anInputOutputErrorTakesItOfflineForGood(_ kind: DiskOperation.Kind, after: Int) async throws {
    let disk = SimulatedDisk(seed: UInt64(after))
    var store = try await open(disk)
    disk.inject(DiskFault(kind, after: after, times: 1, .error(.io)))
    let (last, error) = await putUntilRefused(store)
    // A checkpoint may meet the error too: then the next call is the first to be refused.
    #expect(error?.kind == .offline, "\(String(describing: error))")
    #expect(await refusal { _ = try await store.get(a) } == .offline, "it went on reading")
    #expect(await refusal { try await store.put(a, []) } == .offline, "it went on writing")
    await store.close()
    disk.powerCut(seed: UInt64(after))
    store = try await open(disk)
    let found = try await value(store)
    let mayBeMore = error?.outcome == .unknown ? 1 : 0
    #expect(
      (last...(last + mayBeMore)).contains(found), "\(found) after \(last) and \(String(describing: error))")
    await store.close()
  }

  /// A failed sync loses data whatever its reason, so it is never tried again (R56).
  @Test(arguments: ["-wal", "metadata.db"], [DiskError.Kind.noSpace, .permission])
  func aFailedSyncTakesItOfflineWhateverTheReason(_ path: String, kind: DiskError.Kind) async throws {
    let disk = SimulatedDisk(seed: 1)
    let store = try await open(disk)
    try await store.put(a, [])
    disk.inject(DiskFault(.sync, path: path, .error(kind)))
    #expect(await putUntilRefused(store).error?.kind == .offline)
    #expect(await refusal { _ = try await store.get(a) } == .offline)
    await store.close()
  }

  @Test func anErrorOfACommitIsUnknownAndOneBeforeIsDefinite() async throws {
    let disk = SimulatedDisk(seed: 1)
    let store = try await open(disk)
    try await store.put(a, Array("1".utf8))
    disk.inject(DiskFault(.sync, path: "-wal", .error(.io)))
    let (_, atCommit) = await putUntilRefused(store)
    #expect(atCommit?.outcome == .unknown)
    let (_, later) = await putUntilRefused(store)
    #expect(later?.outcome == .definite)
    await store.close()
  }

  /// Want of space at every write of a transaction in turn: nothing of it remains, not even after a
  /// power cut, and the store goes on when there is space again.
  @Test(arguments: 0..<16)
  func aFullDiskRefusesAndHarmsNothing(after: Int) async throws {
    let disk = SimulatedDisk(seed: UInt64(after))
    var store = try await open(disk)
    try await store.put(a, Array("1".utf8))
    disk.inject(DiskFault(.write, path: "-wal", after: after, times: .max, .error(.noSpace)))
    let (last, error) = await putUntilRefused(store)
    #expect(error?.kind == .noSpace && error?.outcome == .definite, "\(String(describing: error))")
    #expect(try await value(store) == max(last, 1))
    #expect(try await store.range(RangeRequest(.all)).count == 1)
    disk.powerCut(seed: UInt64(after))
    await store.close()
    disk.clearFaults()

    store = try await open(disk)
    #expect(try await value(store) == max(last, 1))
    disk.inject(DiskFault(.write, path: "-wal", after: after, times: 3, .error(.noSpace)))
    #expect(await putUntilRefused(store).error?.kind == .noSpace)
    disk.clearFaults()
    #expect(await putUntilRefused(store, limit: 50).error == nil, "it did not recover")
    await store.close()
  }

  /// The worst that a failed write may leave: all of its bytes. What was refused as definite must not
  /// come back even then.
  @Test func aRefusedTransactionDoesNotComeBack() async throws {
    var refused = 0
    // Each page that the transaction writes in turn, its last one included.
    for page in 0..<20 {
      let disk = SimulatedDisk(seed: 1)
      let lying = LyingDisk(disk)
      var store = try await SQLiteStore.open(
        disk: lying, path: "metadata.db", time: SimulatedTime(), random: SeededRandom(seed: 1))
      try await store.put(a, Array("1".utf8))
      lying.lie(afterPages: page)
      guard let error = await putUntilRefused(store, limit: 1).error else { break }
      refused += 1
      #expect(error.kind == .noSpace && error.outcome == .definite)
      disk.kill()
      await store.close()
      store = try await open(disk)
      #expect(try await store.range(RangeRequest(.all)).revision == Revision(2), "page \(page)")
      await store.close()
    }
    #expect(refused > 1)
  }

  /// A disk that is really full, in checkpoints too.
  @Test func aFullDiskKeepsWhatWasAnswered() async throws {
    let disk = SimulatedDisk(seed: 3, capacity: 400_000)
    var store = try await open(disk)
    var answered: [[UInt8]] = []
    var refused = 0
    for at in 0..<400 {
      let key = Array("k\(at)".utf8)
      do {
        try await store.put(key, [UInt8](repeating: 1, count: 2_000))
        answered.append(key)
      } catch {
        #expect(error.kind == .noSpace && error.outcome == .definite)
        refused += 1
      }
    }
    #expect(refused > 0 && !answered.isEmpty)
    await store.close()
    disk.powerCut(seed: 3)
    disk.setCapacity(1 << 30)
    store = try await open(disk)
    let found = try await store.range(RangeRequest(.all, keysOnly: true)).keyValues.map(\.key)
    #expect(found == answered.sorted { $0.lexicographicallyPrecedes($1) })
    await store.close()
  }

  @Test func damagedRowsAreNotServed() async throws {
    let disk = SimulatedDisk(seed: 1)
    var store = try await open(disk)
    let value = Array("precious".utf8)
    try await store.put(a, value)
    await store.close()
    let bytes = try #require(disk.contents("metadata.db"))
    let at = try #require(bytes.indices.first { bytes[$0...].starts(with: value) })
    #expect(disk.flipBit("metadata.db", byte: at + 2, bit: 3))
    store = try await open(disk)
    #expect(await refusal { _ = try await store.get(a) } == .unreadable)
    await store.close()
  }

  @Test func filesOfAnotherKindOrVersionAreRefused() async throws {
    let disk = SimulatedDisk(seed: 1)
    await open(disk, expecting: nil)
    // The version is the one row of its table; find it as SQLite stores an integer 1 (type 9) there.
    disk.overwrite("metadata.db", at: 0, Array("not SQLite's".utf8))
    await open(disk, expecting: .unreadable)
  }

  private func open(_ disk: SimulatedDisk, expecting kind: MetadataError.Kind?) async {
    do {
      await (try await open(disk)).close()
      #expect(kind == nil, "it was opened")
    } catch {
      #expect((error as? MetadataError)?.kind == kind, "\(error)")
    }
  }
}
