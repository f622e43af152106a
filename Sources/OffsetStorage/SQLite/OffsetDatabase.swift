import CommitLog
import GroupCoordination
import MetadataStore
import SkeinCore

/// The embedded store itself, on one SQLite connection.
///
/// Threading: confined to the store's worker thread; nothing here is async.
final class OffsetDatabase {
  private let connection: SQLiteConnection
  private let configuration: SQLiteOffsetStore.Configuration
  /// Against a second opener, for the life of the database.
  private let lock: any DiskLock
  /// Of the file as it was found; nil = it was made.
  let foundVersion: Int64?

  /// One commit of a batch.
  struct Commit {
    var group: GroupKey
    var memberEpoch: Int32
    var offsets: [StoredOffset]
  }

  init(
    disk: any Disk, path: String, configuration: SQLiteOffsetStore.Configuration, time: any TimeSource,
    random: any RandomSource
  ) throws(MetadataError) {
    self.configuration = configuration
    do {
      lock = try disk.lock(path + ".lock")
    } catch {
      let kind: MetadataError.Kind = error.kind == .locked ? .locked : .offline
      throw MetadataError(kind, "the offset store sqlite cannot be locked: \(error)")
    }
    let vfs = try DiskVFS(disk: disk, time: time, random: random)
    connection = try SQLiteConnection(vfs: vfs, path: path, subject: "the offset store sqlite")
    foundVersion = try OffsetSchema.prepare(connection, isDurable: configuration.isDurable)
  }

  // MARK: Change

  /// Everything that waits, in one transaction with one sync. A commit that is refused leaves the others alone.
  /// - Returns: one refusal a commit, nil = it is durable.
  /// - Throws: then none of them is known to be stored.
  func commit(_ commits: [Commit]) throws(MetadataError) -> [Fault?] {
    var refusals: [Fault?] = []
    try transaction { () throws(MetadataError) in
      for commit in commits { refusals.append(try apply(commit)) }
    }
    return refusals
  }

  /// First every check, then every write: a refused commit has written nothing.
  private func apply(_ commit: Commit) throws(MetadataError) -> Fault? {
    var stored: [TopicPartition: StoredOffset] = [:]
    var changed: [StoredOffset] = []
    for var offset in commit.offsets {
      offset.memberEpoch = commit.memberEpoch
      let partition = offset.partition
      var before = stored[partition]
      if before == nil { before = try row(of: commit.group, partition) }
      if let before {
        if let refusal = Self.refusal(of: offset, over: before, commit.group) { return refusal }
        if before.isRepeated(by: offset) { continue }
      }
      stored[partition] = offset
      changed.append(offset)
    }
    for offset in changed { try put(offset, commit.group) }
    return nil
  }

  /// Promises 2 and 3.
  static func refusal(of offset: StoredOffset, over before: StoredOffset, _ group: GroupKey) -> Fault? {
    guard offset.memberEpoch != 0 else { return nil }
    let metadata = [
      "group": group.name, "stored_epoch": "\(before.memberEpoch)", "committed": "\(before.committed.offset)",
    ]
    if offset.memberEpoch < before.memberEpoch {
      return Fault(
        .conflict,
        "\(offset.partition) was committed by a member of epoch \(before.memberEpoch), later than \(offset.memberEpoch)",
        metadata: metadata)
    }
    if offset.memberEpoch == before.memberEpoch, offset.committed.offset < before.committed.offset {
      return Fault(
        .conflict,
        "\(offset.partition) was committed up to \(before.committed.offset), beyond \(offset.committed.offset)",
        metadata: metadata)
    }
    return nil
  }

  private func put(_ offset: StoredOffset, _ group: GroupKey) throws(MetadataError) {
    try connection.prepare(
      """
      INSERT OR REPLACE INTO offsets(
        tenant, name, topic, partition, position, leader_epoch, committed_ms, metadata, member_epoch)
      VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
      """
    ).bind(
      .blob(Array(group.tenant.utf8)), .blob(Array(group.name.utf8)), .blob(offset.partition.topic.bytes),
      .integer(Int64(offset.partition.partition)), .integer(offset.committed.offset.rawValue),
      .integer(Int64(offset.committed.leaderEpoch)), .integer(offset.committed.committedAt),
      .blob(Array(offset.committed.metadata.utf8)), .integer(Int64(offset.memberEpoch))
    ).run()
  }

  func remove(_ group: GroupKey, _ partitions: [TopicPartition]?) throws(MetadataError) {
    let tenant = SQLiteStatement.Value.blob(Array(group.tenant.utf8))
    let name = SQLiteStatement.Value.blob(Array(group.name.utf8))
    try transaction { () throws(MetadataError) in
      guard let partitions else {
        return try connection.prepare("DELETE FROM offsets WHERE tenant = ?1 AND name = ?2")
          .bind(tenant, name).run()
      }
      let delete = "DELETE FROM offsets WHERE tenant = ?1 AND name = ?2 AND topic = ?3 AND partition = ?4"
      for partition in partitions {
        try connection.prepare(delete).bind(
          tenant, name, .blob(partition.topic.bytes), .integer(Int64(partition.partition))
        ).run()
      }
    }
  }

  // MARK: Look

  private static let columns =
    "name, topic, partition, position, leader_epoch, committed_ms, metadata, member_epoch"

  private func row(of group: GroupKey, _ partition: TopicPartition) throws(MetadataError) -> StoredOffset? {
    let rows = try connection.prepare(
      """
      SELECT \(Self.columns) FROM offsets
      WHERE tenant = ?1 AND name = ?2 AND topic = ?3 AND partition = ?4
      """
    ).bind(
      .blob(Array(group.tenant.utf8)), .blob(Array(group.name.utf8)), .blob(partition.topic.bytes),
      .integer(Int64(partition.partition)))
    defer { rows.reset() }
    return try rows.step() ? try read(rows) : nil
  }

  func fetch(_ group: GroupKey, _ partitions: [TopicPartition]?) throws(MetadataError) -> [StoredOffset] {
    var found: [StoredOffset] = []
    if let partitions {
      var seen: Set<TopicPartition> = []
      for partition in partitions where seen.insert(partition).inserted {
        if let offset = try row(of: group, partition) { found.append(offset) }
      }
      return found
    }
    let rows = try connection.prepare(
      "SELECT \(Self.columns) FROM offsets WHERE tenant = ?1 AND name = ?2 ORDER BY topic, partition"
    ).bind(.blob(Array(group.tenant.utf8)), .blob(Array(group.name.utf8)))
    defer { rows.reset() }
    while try rows.step() { found.append(try read(rows)) }
    return found
  }

  func scan(tenant: String, after: ScanToken?, limit: Int) throws(MetadataError) -> StoredOffsetPage {
    let rows = try connection.prepare(
      """
      SELECT \(Self.columns) FROM offsets
      WHERE tenant = ?1 AND (name, topic, partition) > (?2, ?3, ?4)
      ORDER BY name, topic, partition LIMIT ?5
      """
    ).bind(
      .blob(Array(tenant.utf8)), .blob(Array((after?.group ?? "").utf8)),
      .blob(after?.partition.topic.bytes ?? []), .integer(Int64(after?.partition.partition ?? -1)),
      // One more than asked for tells whether this is the last page.
      .integer(Int64(limit) + 1))
    defer { rows.reset() }
    var page = StoredOffsetPage(groups: [], token: "")
    var count = 0
    while try rows.step() {
      if count == limit, let last = page.groups.last, let offset = last.offsets.last {
        page.token = ScanToken(group: last.name, partition: offset.partition).text
        break
      }
      let name = String(decoding: rows.blob(0), as: UTF8.self)
      let offset = try read(rows)
      if page.groups.last?.name != name { page.groups.append(.init(name: name, offsets: [])) }
      page.groups[page.groups.count - 1].offsets.append(offset)
      count += 1
    }
    return page
  }

  private func read(_ row: SQLiteStatement) throws(MetadataError) -> StoredOffset {
    guard let topic = TopicID(bytes: row.blob(1)), let partition = Int32(exactly: row.integer(2)),
      let leaderEpoch = Int32(exactly: row.integer(4)), let memberEpoch = Int32(exactly: row.integer(7))
    else {
      throw MetadataError(.unreadable, "the offset store sqlite holds a row that nobody wrote")
    }
    return StoredOffset(
      partition: TopicPartition(topic: topic, partition: partition),
      committed: CommittedOffset(
        offset: Offset(row.integer(3)), leaderEpoch: leaderEpoch,
        metadata: String(decoding: row.blob(6), as: UTF8.self), committedAt: row.integer(5)),
      memberEpoch: memberEpoch)
  }

  // MARK: Transactions

  /// The outcome of a failed COMMIT is unknown, but for want of space: then it is undone (DiskVFS).
  private func transaction(_ body: () throws(MetadataError) -> Void) throws(MetadataError) {
    guard !connection.vfs.isFailed else {
      throw MetadataError(
        .offline,
        "the offset store sqlite is offline since its disk failed; repair it and start the broker again")
    }
    try connection.execute("BEGIN IMMEDIATE")
    do {
      try body()
      try connection.execute("COMMIT")
    } catch {
      // SQLite may have rolled back by itself; if this fails the connection is unusable, and every later call says so.
      if connection.isInTransaction { try? connection.execute("ROLLBACK") }
      throw error
    }
    guard connection.logPages >= configuration.checkpointPages else { return }
    // The commit stands whatever happens here: without space the log grows on and the next commit tries again; any other
    // failure has marked the disk as failed.
    try? connection.checkpoint(.restart)
  }
}

/// Where a page of a scan ended.
struct ScanToken {
  var group: String
  var partition: TopicPartition

  var text: String { "\(partition.topic)/\(partition.partition)/\(group)" }

  init(group: String, partition: TopicPartition) {
    self.group = group
    self.partition = partition
  }

  init?(_ text: String) {
    let parts = text.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3, let topic = TopicID(parts[0]), let number = Int32(parts[1]) else { return nil }
    group = String(parts[2])
    partition = TopicPartition(topic: topic, partition: number)
  }
}

extension TopicID {
  /// 16 bytes, in the order of the ids.
  var bytes: [UInt8] {
    [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
  }

  init?(bytes: [UInt8]) {
    guard bytes.count == 16 else { return nil }
    let words = [bytes[..<8], bytes[8...]].map { $0.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
    self.init(high: words[0], low: words[1])
  }
}

extension StoredOffset {
  /// The same commit again, whenever it comes (promise 4).
  package func isRepeated(by other: StoredOffset) -> Bool {
    memberEpoch == other.memberEpoch && partition == other.partition
      && committed.offset == other.committed.offset
      && committed.leaderEpoch == other.committed.leaderEpoch
      && committed.metadata == other.committed.metadata
  }
}
