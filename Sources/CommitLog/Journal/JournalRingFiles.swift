import SkeinCore

/// The files of a ring on disk: creating, finding and identifying them.
///
/// A ring exists once the identity of its first file is durable; that is written last. Anything
/// less is a creation that was interrupted, in which nothing was ever acknowledged.
struct JournalRingFiles: Sendable {
  let files: JournalFiles
  let id: JournalID
  let created: Bool

  static func open(
    _ disk: any Disk, _ directory: String, _ configuration: JournalConfiguration,
    _ random: any RandomSource
  ) throws(LogError) -> JournalRingFiles {
    try onDisk { () throws(DiskError) in
      try disk.createDirectory(directory)
      if !configuration.breakage.contains(.noDirectorySync) {
        try disk.syncDirectory(parent(of: directory))
      }
    }
    if let found = try find(disk, directory) { return found }
    return try create(disk, directory, configuration, random)
  }

  private static func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "" }
    return String(path[..<slash])
  }

  private static func path(_ directory: String, _ index: Int) -> String {
    directory + "/" + JournalFormat.fileName(index)
  }

  // MARK: Finding

  private static func find(_ disk: any Disk, _ directory: String) throws(LogError) -> JournalRingFiles? {
    let names = try onDisk { () throws(DiskError) in try disk.list(directory) }
    let present = Set(names.map(\.name))
    var opened: [Int: any DiskFile] = [:]
    var identities: [Int: JournalFileIdentity] = [:]
    for index in 0..<256 where present.contains(JournalFormat.fileName(index)) {
      let path = path(directory, index)
      let file = try onDisk { () throws(DiskError) in try disk.open(path, .readWrite) }
      opened[index] = file
      identities[index] = try identity(of: file, path)
    }
    // Whichever identity is intact speaks for the ring; the first file's is looked at first.
    guard let witness = identities.sorted(by: { $0.key < $1.key }).first?.value else {
      return try refuseIfUsed(opened)
    }
    let geometry = witness.geometry
    var files: [any DiskFile] = []
    for index in 0..<geometry.fileCount {
      // A misdirected write may have made it longer.
      guard let file = opened[index],
        try onDisk({ () throws(DiskError) in try file.size() }) >= geometry.fileSize
      else {
        if identities[0] == nil { return try refuseIfUsed(opened) }
        throw .corrupt(nil, what: "journal file \(path(directory, index)) is missing or too short")
      }
      files.append(file)
    }
    let ring = JournalFiles(geometry: geometry, files: files)
    if identities[0] == nil {
      var reader = JournalReader(ring, id: witness.journal, verifyBatch: { _, _ in true })
      if try reader.allGroups().isEmpty { return try refuseIfUsed(opened) }
    }
    for index in 0..<geometry.fileCount {
      let wanted = JournalFileIdentity(journal: witness.journal, geometry: geometry, index: index)
      if let identity = identities[index] {
        guard identity == wanted else {
          throw .corrupt(nil, what: "\(path(directory, index)) belongs to another ring or place")
        }
      } else {
        // All of it is known from its neighbours.
        try onDisk { () throws(DiskError) in try write(wanted, to: files[index]) }
      }
    }
    return JournalRingFiles(files: ring, id: witness.journal, created: false)
  }

  /// Nil, for a ring whose creation was interrupted: no entry was ever written to it. Otherwise its
  /// identity was damaged, and what it holds must not be overwritten.
  private static func refuseIfUsed(_ opened: [Int: any DiskFile]) throws(LogError) -> JournalRingFiles? {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
    defer { buffer.deallocate() }
    for (index, file) in opened.sorted(by: { $0.key < $1.key }) {
      var offset: Int64 = 0
      while true {
        let count = try onDisk { () throws(DiskError) in try file.read(into: buffer, at: offset) }
        for block in stride(from: 0, to: count - 7, by: 512)
        where buffer.loadUnaligned(fromByteOffset: block + 4, as: UInt32.self)
          == JournalFormat.entryMagic.littleEndian
        {
          throw .corrupt(
            nil, what: "\(JournalFormat.fileName(index)) holds entries, but no file says which ring it is")
        }
        if count < buffer.count { break }
        offset += Int64(count)
      }
    }
    return nil
  }

  private static func identity(
    of file: any DiskFile, _ path: String
  ) throws(LogError) -> JournalFileIdentity? {
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: JournalFileIdentity.size, alignment: 16)
    defer { buffer.deallocate() }
    let count = try onDisk { () throws(DiskError) in try file.read(into: buffer, at: 0) }
    guard count == buffer.count else { return nil }
    return try JournalFileIdentity(UnsafeRawBufferPointer(buffer), path: path)
  }

  // MARK: Creating

  private static func create(
    _ disk: any Disk, _ directory: String, _ configuration: JournalConfiguration,
    _ random: any RandomSource
  ) throws(LogError) -> JournalRingFiles {
    guard
      let geometry = JournalGeometry(
        fileSize: configuration.fileSize, fileCount: configuration.fileCount,
        blockSize: configuration.blockSize)
    else { throw .invalidFormat(path: directory, what: "impossible journal size in the configuration") }
    let id = JournalID(high: random.next(), low: random.next())
    do throws(DiskError) {
      var files: [any DiskFile] = []
      for index in 0..<geometry.fileCount {
        let file = try disk.open(path(directory, index), .create)
        try file.truncate(to: 0)
        try file.allocate(from: 0, count: geometry.fileSize)
        files.append(file)
      }
      for index in (0..<geometry.fileCount).reversed() {
        try fillWithZeros(files[index], geometry.fileSize)
        if index > 0 {
          try write(JournalFileIdentity(journal: id, geometry: geometry, index: index), to: files[index])
        }
        try files[index].sync()
      }
      if !configuration.breakage.contains(.noDirectorySync) { try disk.syncDirectory(directory) }
      try write(JournalFileIdentity(journal: id, geometry: geometry, index: 0), to: files[0])
      try files[0].sync()
      return JournalRingFiles(
        files: JournalFiles(geometry: geometry, files: files), id: id, created: true)
    } catch { throw LogError(error) }
  }

  /// Blocks that were written once can later be synced without a metadata commit of the file system.
  private static func fillWithZeros(_ file: any DiskFile, _ size: Int64) throws(DiskError) {
    let chunk = Int(min(size, 1 << 20))
    let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 16)
    defer { zeros.deallocate() }
    zeros.initializeMemory(as: UInt8.self, repeating: 0)
    var offset: Int64 = 0
    while offset < size {
      let count = Int(min(Int64(chunk), size - offset))
      try file.write([UnsafeRawBufferPointer(rebasing: zeros[..<count])], at: offset)
      offset += Int64(count)
    }
  }

  private static func write(_ identity: JournalFileIdentity, to file: any DiskFile) throws(DiskError) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: JournalFileIdentity.size, alignment: 16)
    defer { buffer.deallocate() }
    identity.encode(into: buffer)
    try file.write([UnsafeRawBufferPointer(buffer)], at: 0)
  }
}
