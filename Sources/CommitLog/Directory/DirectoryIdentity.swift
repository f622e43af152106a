internal import SkeinCore

/// What names a log directory for ever: format version, cluster, and its own 128-bit id. Written
/// once, when the directory is new (Docs/formats/checkpoint.md).
struct DirectoryIdentity: Equatable {
  static let version: UInt32 = 1
  private static let magic: UInt32 = 0x534B_4944  // "SKID"

  var clusterID: String
  var id: TopicID

  func encoded() -> [UInt8] {
    var out = ByteWriter()
    out.put(Self.magic)
    out.put(Self.version)
    out.put(id.high)
    out.put(id.low)
    out.put(clusterID)
    out.putChecksum()
    return out.bytes
  }

  init(clusterID: String, id: TopicID) {
    self.clusterID = clusterID
    self.id = id
  }

  init(decoding bytes: [UInt8]) throws(LogError) {
    func refuse(_ what: String) -> LogError { .invalidFormat(path: LogPaths.identity, what: what) }
    guard var input = ByteReader(checked: bytes), input.uint32() == Self.magic else {
      throw refuse("this is not the identity of a log directory, or it is damaged")
    }
    guard let version = input.uint32(), version == Self.version else {
      throw refuse("this broker reads log directories of version \(Self.version) only")
    }
    guard let high = input.uint64(), let low = input.uint64(),
      let cluster = input.string(limit: 1024), input.remaining == 0
    else { throw refuse("a field is missing") }
    self.init(clusterID: cluster, id: TopicID(high: high, low: low))
  }

  /// Reads the identity and compares the cluster; writes a new one into an empty directory.
  static func establish(
    clusterID: String, disk: any Disk, random: any RandomSource
  ) throws(LogError) -> DirectoryIdentity {
    if let bytes = try onDisk({ () throws(DiskError) in try SmallFile.read(LogPaths.identity, disk: disk) }) {
      let found = try DirectoryIdentity(decoding: bytes)
      guard found.clusterID == clusterID else {
        throw .invalidFormat(
          path: LogPaths.identity,
          what: "the directory belongs to cluster \(found.clusterID), this broker to \(clusterID)")
      }
      return found
    }
    // Data without an identity is somebody else's, or damaged: never adopt it.
    guard try !hasData(disk) else {
      throw .invalidFormat(path: LogPaths.identity, what: "the directory holds topics but no identity")
    }
    let made = DirectoryIdentity(clusterID: clusterID, id: random.topicID())
    try onDisk { () throws(DiskError) in
      try SmallFile.replace(LogPaths.identity, with: made.encoded(), folder: "", disk: disk)
    }
    return made
  }

  private static func hasData(_ disk: any Disk) throws(LogError) -> Bool {
    try onDisk { () throws(DiskError) in
      guard try disk.exists(LogPaths.topics) else { return false }
      return try !disk.list(LogPaths.topics).isEmpty
    }
  }
}

/// The marker of a clean shutdown, with the leader epoch of the process that left it (R15, R50).
enum CleanMarker {
  private static let magic: UInt32 = 0x534B_434C  // "SKCL"

  static func write(epoch: Int32, disk: any Disk) throws(DiskError) {
    var out = ByteWriter()
    out.put(magic)
    out.put(epoch)
    out.putChecksum()
    try SmallFile.replace(LogPaths.cleanMarker, with: out.bytes, folder: "", disk: disk)
  }

  /// Reads the marker and removes it durably, before anything is appended.
  static func take(disk: any Disk) throws(DiskError) -> Int32? {
    guard let bytes = try SmallFile.read(LogPaths.cleanMarker, disk: disk) else { return nil }
    try disk.remove(LogPaths.cleanMarker)
    try disk.syncDirectory("")
    guard var input = ByteReader(checked: bytes), input.uint32() == magic else { return nil }
    return input.int32()
  }
}
