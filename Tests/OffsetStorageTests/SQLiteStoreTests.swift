import CommitLog
import GroupCoordination
import MetadataStore
import OffsetStorage
import Simulation
import SkeinCore
import Testing

/// The embedded store on a disk that loses power, is full, or holds what another version wrote.
@Suite struct SQLiteStoreTests {
  private static let group = GroupKey(tenant: "t", name: "g")

  private static func open(
    _ disk: SimulatedDisk, _ configure: (inout SQLiteOffsetStore.Configuration) -> Void = { _ in }
  ) async throws(MetadataError) -> SQLiteOffsetStore {
    var configuration = SQLiteOffsetStore.Configuration()
    // Often, so that cuts fall into checkpoints too.
    configuration.checkpointPages = 6
    configure(&configuration)
    return try await SQLiteOffsetStore.open(
      disk: disk, path: "offsets.db", configuration: configuration, time: SimulatedTime(),
      random: SeededRandom(seed: 1))
  }

  private static func offset(_ partition: Int32, _ offset: Int64, metadata: String = "") -> StoredOffset {
    StoredOffset(
      partition: TopicPartition(topic: TopicID(high: 1, low: 2), partition: partition),
      committed: CommittedOffset(offset: Offset(offset), leaderEpoch: 1, metadata: metadata, committedAt: 5),
      memberEpoch: 3)
  }

  private static func values(_ store: SQLiteOffsetStore) async throws(Fault) -> [Int32: Int64] {
    Dictionary(
      uniqueKeysWithValues: try await store.fetch(group, nil).map {
        ($0.partition.partition, $0.committed.offset.rawValue)
      })
  }

  // MARK: Power

  /// What one life and the cut at its end did.
  private struct Life {
    /// Acknowledged, and the commit without an answer, both as a whole of two partitions.
    var acknowledged: Int64 = 0
    var tried: Int64 = 0
    var hasEnded = false
  }

  /// Commits pairs that belong together until the power goes.
  private static func live(_ disk: SimulatedDisk, from: Int64, isDurable: Bool) async -> Life {
    var life = Life(acknowledged: from, tried: from)
    guard let store = try? await open(disk, { $0.isDurable = isDurable }) else { return life }
    for offset in (from + 1)...(from + 12) {
      life.tried = offset
      do throws(Fault) {
        try await store.commit(
          group, memberEpoch: 3,
          [Self.offset(0, offset), Self.offset(1, offset, metadata: String(repeating: "m", count: 500))])
        life.acknowledged = offset
      } catch {
        await store.close()
        return life
      }
    }
    life.hasEnded = true
    await store.close()
    return life
  }

  /// - Returns: what is wrong; nil = what was acknowledged is there, whole, and what was not is there whole or not at all.
  private static func loss(_ disk: SimulatedDisk, _ life: Life) async throws -> String? {
    let store = try await open(disk)
    let found = try await values(store)
    await store.close()
    let allowed = life.acknowledged...max(life.tried, life.acknowledged)
    if life.acknowledged == 0, found.isEmpty { return nil }
    guard let first = found[0], first == found[1] else { return "a commit came back in part: \(found)" }
    return allowed.contains(first) ? nil : "\(first) is there, \(life.acknowledged) was acknowledged"
  }

  /// At every operation of a life, and at every one of the life after it.
  @Test(arguments: 0..<4)
  func whatWasAcknowledgedSurvivesEveryCut(_ shard: Int) async throws {
    var cuts = 0
    for seed in [UInt64(shard), UInt64(shard) + 4] {
      var operation = shard % 3
      while true {
        let disk = SimulatedDisk(seed: seed)
        disk.crash(atOperation: disk.operations + 1 + operation)
        var life = await Self.live(disk, from: 0, isDurable: true)
        if life.hasEnded { break }
        disk.powerCut(seed: seed &+ UInt64(operation))
        let loss = try await Self.loss(disk, life)
        #expect(loss == nil, "seed \(seed), operation \(operation): \(loss ?? "")")
        // A second life on what is left, cut at another place.
        disk.crash(atOperation: disk.operations + 1 + operation * 7 % 53)
        let second = await Self.live(disk, from: life.tried, isDurable: true)
        disk.powerCut(seed: seed &+ 1)
        if second.acknowledged > life.tried { life.acknowledged = second.acknowledged }
        life.tried = max(second.tried, life.tried)
        let again = try await Self.loss(disk, life)
        #expect(again == nil, "seed \(seed), operation \(operation), second life: \(again ?? "")")
        cuts += 2
        operation += 3
      }
    }
    #expect(cuts > 50, "only \(cuts) cuts")
  }

  /// Without syncs the same cuts must lose something, or they could not have found a loss above.
  @Test func withoutSyncsTheSameCutsLose() async throws {
    var losses = 0
    for operation in stride(from: 20, to: 120, by: 5) {
      let disk = SimulatedDisk(seed: UInt64(operation))
      disk.crash(atOperation: disk.operations + 1 + operation)
      let life = await Self.live(disk, from: 0, isDurable: false)
      disk.powerCut(seed: UInt64(operation))
      do {
        if try await Self.loss(disk, life) != nil { losses += 1 }
      } catch {
        losses += 1
      }
    }
    #expect(losses >= 5, "only \(losses) of 20 cuts without syncs lost anything")
  }

  // MARK: Space

  @Test func aFullDiskRefusesAndComesBackByItself() async throws {
    let disk = SimulatedDisk(seed: 3)
    let store = try await Self.open(disk)
    try await store.commit(Self.group, memberEpoch: 3, [Self.offset(0, 1)])
    disk.setCapacity(400_000)
    var refused: Fault?
    var last: Int64 = 1
    for offset in Int64(2)...500 {
      do throws(Fault) {
        try await store.commit(
          Self.group, memberEpoch: 3,
          [Self.offset(0, offset)]
            + (0..<40).map { Self.offset($0 + 1, offset, metadata: String(repeating: "x", count: 4_000)) })
        last = offset
      } catch {
        refused = error
        break
      }
    }
    #expect(
      refused?.reason == .offsetStoreUnavailable && refused?.message.contains("no space") == true,
      "\(String(describing: refused))")
    #expect(try await Self.values(store)[0] == last, "what was refused was undone")
    disk.setCapacity(1 << 40)
    try await store.commit(Self.group, memberEpoch: 3, [Self.offset(0, last + 1)])
    #expect(try await Self.values(store)[0] == last + 1)
    await store.close()
    let again = try await Self.open(disk)
    #expect(try await Self.values(again)[0] == last + 1)
    await again.close()
  }

  @Test func afterAFailedSyncNothingIsPromisedAnyMore() async throws {
    let disk = SimulatedDisk(seed: 4)
    let store = try await Self.open(disk)
    try await store.commit(Self.group, memberEpoch: 3, [Self.offset(0, 1)])
    disk.setHook { $0.kind == .sync ? .fail(.io) : .proceed }
    for offset in Int64(2)...4 {
      await #expect(throws: Fault.self) {
        try await store.commit(Self.group, memberEpoch: 3, [Self.offset(0, offset)])
      }
    }
    disk.setHook(nil)
    await #expect(throws: Fault.self) {
      try await store.commit(Self.group, memberEpoch: 3, [Self.offset(0, 9)])
    }
    await store.close()
    let again = try await Self.open(disk)
    #expect((1...2).contains(try await Self.values(again)[0] ?? 0))
    await again.close()
  }

  // MARK: Batches

  /// Many commits at once become few transactions, one refused among them leaves the others alone.
  @Test func commitsThatWaitBecomeOne() async throws {
    let disk = SimulatedDisk(seed: 5)
    let store = try await Self.open(disk) { $0.checkpointPages = 10_000 }
    try await store.commit(Self.group, memberEpoch: 3, [Self.offset(500, 10)])
    let before = disk.operations
    let refused = await withTaskGroup(of: Bool.self) { group in
      for partition in Int32(0)..<200 {
        group.addTask {
          let offset = Self.offset(partition % 10 == 9 ? 500 : partition, 5)
          do throws(Fault) {
            try await store.commit(Self.group, memberEpoch: 3, [offset])
            return false
          } catch {
            return error.reason == .conflict
          }
        }
      }
      return await group.reduce(into: 0) { if $1 { $0 += 1 } }
    }
    #expect(refused == 20)
    #expect(try await Self.values(store).count == 181)
    let each = Double(disk.operations - before) / 180
    #expect(each < 2, "\(each) disk operations a commit")
    await store.close()
  }

  @Test func itHasOneOpenerAndAnEnd() async throws {
    let disk = SimulatedDisk(seed: 6)
    let store = try await Self.open(disk)
    do throws(MetadataError) {
      _ = try await Self.open(disk)
      Issue.record("two openers")
    } catch {
      #expect(error.kind == .locked)
    }
    await store.close()
    await #expect(throws: Fault.self) {
      try await store.commit(Self.group, memberEpoch: 1, [Self.offset(0, 1)])
    }
    await #expect(throws: Fault.self) { _ = try await store.fetch(Self.group, nil) }
    let again = try await Self.open(disk)
    await again.close()
    await #expect(throws: Fault.self) { _ = try await again.scan(tenant: "t", after: "no token", limit: 1) }
  }

  // MARK: Versions

  /// As version 1 wrote it: without member epochs.
  private static func older(_ disk: SimulatedDisk, version: Int) throws {
    let vfs = try DiskVFS(disk: disk, time: SimulatedTime(), random: SeededRandom(seed: 2))
    let connection = try SQLiteConnection(vfs: vfs, path: "offsets.db")
    try connection.execute(
      """
      PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;
      CREATE TABLE schema(version INTEGER NOT NULL);
      INSERT INTO schema VALUES(\(version));
      CREATE TABLE offsets(
        tenant BLOB NOT NULL, name BLOB NOT NULL, topic BLOB NOT NULL, partition INTEGER NOT NULL,
        position INTEGER NOT NULL, leader_epoch INTEGER NOT NULL, committed_ms INTEGER NOT NULL,
        metadata BLOB NOT NULL, PRIMARY KEY(tenant, name, topic, partition)) WITHOUT ROWID;
      INSERT INTO offsets VALUES(x'74', x'67', x'00000000000000010000000000000002', 4, 44, 1, 9, x'6d');
      """)
    try connection.checkpoint(.truncate)
  }

  @Test func anOlderVersionIsTakenOver() async throws {
    let disk = SimulatedDisk(seed: 8)
    try Self.older(disk, version: 1)
    for _ in 0..<2 {
      let store = try await Self.open(disk)
      let found = try await store.fetch(Self.group, nil)
      #expect(found.map(\.partition.partition) == [4] && found.map(\.committed.offset) == [Offset(44)])
      #expect(found.first?.memberEpoch == 0 && found.first?.committed.metadata == "m")
      await store.close()
    }
    let store = try await Self.open(disk)
    try await store.commit(Self.group, memberEpoch: 1, [Self.offset(4, 45)])
    #expect(try await Self.values(store) == [4: 45])
    await store.close()
  }

  /// A cut at every operation of the migration leaves one version or the other, and every offset.
  @Test func aMigrationThatIsCutBeginsAgain() async throws {
    for operation in 0..<60 {
      let disk = SimulatedDisk(seed: UInt64(operation))
      try Self.older(disk, version: 1)
      disk.crash(atOperation: disk.operations + 1 + operation)
      let store = try? await Self.open(disk)
      await store?.close()
      disk.powerCut(seed: UInt64(operation))
      let again = try await Self.open(disk)
      #expect(try await Self.values(again) == [4: 44], "operation \(operation)")
      await again.close()
    }
  }

  @Test(arguments: [3, 0, -1])
  func aVersionThatNobodyHereKnowsIsRefused(_ version: Int) async throws {
    let disk = SimulatedDisk(seed: 9)
    try Self.older(disk, version: version)
    do throws(MetadataError) {
      let store = try await Self.open(disk)
      await store.close()
      Issue.record("version \(version) was opened")
    } catch {
      #expect(error.kind == .unreadable && error.message.contains("version \(version)"))
      #expect(version < 3 || error.message.contains("newer broker"))
    }
  }
}
