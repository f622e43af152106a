/// The tables, and the one place that creates or refuses them.
///
/// `entries` holds every value that a revision can still show; a row is visible at revisions
/// `[id >> 20, superseded)`. A deletion ends the row before it and leaves a row with created = 0 and
/// superseded = 0, visible nowhere, for watches. Rows are never changed but for `superseded`.
enum SQLiteSchema {
  static let version: Int64 = 1

  /// `id` = revision × 2^20 + position in its transaction, so the table lies in the order of watches.
  static let positionBits: Int64 = 20
  /// `superseded` of a row that is current.
  static let current = Int64.max

  private static let tables = """
    CREATE TABLE schema(version INTEGER NOT NULL);
    INSERT INTO schema VALUES(1);
    CREATE TABLE entries(
      id INTEGER PRIMARY KEY,
      superseded INTEGER NOT NULL,
      created INTEGER NOT NULL,
      version INTEGER NOT NULL,
      lease INTEGER NOT NULL,
      checksum INTEGER NOT NULL,
      key BLOB NOT NULL,
      value BLOB NOT NULL
    );
    CREATE INDEX entries_by_key ON entries(key, superseded);
    CREATE INDEX entries_by_lease ON entries(lease) WHERE lease != 0;
    CREATE TABLE compaction(revision INTEGER NOT NULL);
    INSERT INTO compaction VALUES(0);
    CREATE TABLE leases(id INTEGER PRIMARY KEY, seconds INTEGER NOT NULL);
    """

  /// How the connection must behave, before anything is read.
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
  static func prepare(_ connection: SQLiteConnection, isDurable: Bool) throws(MetadataError) {
    try connection.execute(settings)
    // Locking mode comes first: entering WAL without shared memory needs it.
    let synchronous = isDurable ? "FULL" : "OFF"
    try connection.execute("PRAGMA synchronous = \(synchronous); PRAGMA journal_mode = WAL")
    let mode = try connection.prepare("PRAGMA journal_mode")
    guard try mode.step(), mode.blob(0) == Array("wal".utf8) else {
      throw MetadataError(.unreadable, "the metadata store cannot use a write-ahead log")
    }
    mode.reset()
    try createOrCheck(connection)
  }

  private static func createOrCheck(_ connection: SQLiteConnection) throws(MetadataError) {
    let exists = try connection.prepare("SELECT count(*) FROM sqlite_schema WHERE name = 'schema'")
    _ = try exists.step()
    let isNew = exists.integer(0) == 0
    exists.reset()
    if isNew { try connection.execute("BEGIN IMMEDIATE; \(tables) COMMIT;") }
    let stored = try connection.prepare("SELECT version FROM schema")
    let found = try stored.step() ? stored.integer(0) : 0
    stored.reset()
    guard found == version else {
      throw MetadataError(
        .unreadable, "the metadata store has schema version \(found); this build reads \(version)")
    }
  }
}
