import MetadataStore

/// The tables of the embedded offset store, and the one place that creates, migrates or refuses them.
///
/// Names are blobs, so that they are compared and sorted by their bytes.
enum OffsetSchema {
  /// 1 had no member epochs: its offsets are taken over as nobody's (0). 2: this one.
  static let version: Int64 = 2

  static let tables = """
    CREATE TABLE schema(version INTEGER NOT NULL);
    INSERT INTO schema VALUES(2);
    CREATE TABLE offsets(
      tenant BLOB NOT NULL,
      name BLOB NOT NULL,
      topic BLOB NOT NULL,
      partition INTEGER NOT NULL,
      position INTEGER NOT NULL,
      leader_epoch INTEGER NOT NULL,
      committed_ms INTEGER NOT NULL,
      metadata BLOB NOT NULL,
      member_epoch INTEGER NOT NULL DEFAULT 0,
      PRIMARY KEY(tenant, name, topic, partition)
    ) WITHOUT ROWID;
    """

  /// From the version before to this one.
  private static let migrations: [Int64: String] = [
    1: """
    ALTER TABLE offsets ADD COLUMN member_epoch INTEGER NOT NULL DEFAULT 0;
    UPDATE schema SET version = 2;
    """
  ]

  /// How the connection must behave, before anything is read. The store is one of many of a broker: its cache is small.
  private static let settings = """
    PRAGMA page_size = 4096;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -4096;
    PRAGMA mmap_size = 0;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
    PRAGMA secure_delete = OFF;
    """

  /// Makes an open connection ready: settings, write-ahead log, tables of this version.
  /// - Returns: the version that was found; nil = the file was new.
  @discardableResult
  static func prepare(_ connection: SQLiteConnection, isDurable: Bool) throws(MetadataError) -> Int64? {
    try connection.execute(settings)
    // Locking mode comes first: entering WAL without shared memory needs it.
    try connection.execute(
      "PRAGMA synchronous = \(isDurable ? "FULL" : "OFF"); PRAGMA journal_mode = WAL")
    let mode = try connection.prepare("PRAGMA journal_mode")
    guard try mode.step(), mode.blob(0) == Array("wal".utf8) else {
      throw MetadataError(.unreadable, "the offset store sqlite cannot use a write-ahead log")
    }
    mode.reset()
    let exists = try connection.prepare("SELECT count(*) FROM sqlite_schema WHERE name = 'schema'")
    _ = try exists.step()
    let isNew = exists.integer(0) == 0
    exists.reset()
    guard !isNew else {
      try connection.execute("BEGIN IMMEDIATE; \(tables) COMMIT;")
      return nil
    }
    return try migrate(connection)
  }

  private static func migrate(_ connection: SQLiteConnection) throws(MetadataError) -> Int64 {
    let stored = try connection.prepare("SELECT version FROM schema")
    let found = try stored.step() ? stored.integer(0) : 0
    stored.reset()
    guard found <= version else {
      throw MetadataError(
        .unreadable,
        "the offset store sqlite has schema version \(found), made by a newer broker; this one reads up to \(version). Run the newer broker, or move the groups' offsets with it first"
      )
    }
    var at = found
    while at < version {
      guard let steps = migrations[at] else {
        throw MetadataError(
          .unreadable, "the offset store sqlite has schema version \(found), which no broker ever wrote")
      }
      // One transaction each: a crash leaves one version or the other.
      try connection.execute("BEGIN IMMEDIATE; \(steps) COMMIT;")
      at += 1
    }
    return found
  }
}
