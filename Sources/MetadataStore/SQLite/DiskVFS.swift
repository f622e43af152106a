import CSQLite
import CSQLiteShims
package import CommitLog
package import SkeinCore

/// An SQLite VFS over a `Disk`: the one place where SQLite's file calls become ours.
///
/// Ends its registration with its last reference, which a connection that uses it must hold.
/// Threading: confined, with every connection that uses it, to one thread at a time.
///
/// - A created file's name is made durable with the first sync of the file, as SQLite expects (B19).
/// - After a sync failed, or a read or write met an I/O error, every further call fails (R56): SQLite
///   itself would go on, and ignores failed syncs of its checkpoints.
package final class DiskVFS {
  /// `skein_vfs` keeps this pointer; it is the box of `shared`, released in deinit.
  private let context: Unmanaged<Shared>
  private let handle: OpaquePointer
  private let shared: Shared

  package init(disk: any Disk, time: any TimeSource, random: any RandomSource) throws(MetadataError) {
    shared = Shared(disk: disk, time: time, random: random)
    context = .passRetained(shared)
    var callbacks = Self.callbacks
    guard let handle = skein_vfs_register(&callbacks, context.toOpaque()) else {
      context.release()
      throw MetadataError(.overloaded, "no memory to register the SQLite file layer")
    }
    self.handle = handle
  }

  deinit {
    skein_vfs_unregister(handle)
    context.release()
  }

  /// What `sqlite3_open_v2` wants to hear.
  var name: UnsafePointer<CChar> { skein_vfs_name(handle) }

  /// The last error that the disk threw, to name its cause; cleared by reading it.
  func takeLastError() -> DiskError? {
    defer { shared.lastError = nil }
    return shared.lastError
  }

  /// Set once a sync failed or bytes could not be read or written; then every file call fails.
  package var isFailed: Bool {
    get { shared.isFailed }
    set { shared.isFailed = newValue }
  }
}

// MARK: What the callbacks see

private final class Shared {
  let disk: any Disk
  let time: any TimeSource
  let random: any RandomSource
  var lastError: DiskError?
  var isFailed = false

  init(disk: any Disk, time: any TimeSource, random: any RandomSource) {
    self.disk = disk
    self.time = time
    self.random = random
  }

  /// Runs one disk call and turns what it throws into SQLite's result codes.
  func perform(_ code: Int32, _ body: () throws(DiskError) -> Void) -> Int32 {
    if isFailed { return code }
    do {
      try body()
      return SQLITE_OK
    } catch {
      lastError = error
      if error.kind == .noSpace { return SQLITE_FULL }
      if error.kind == .io { isFailed = true }
      return code
    }
  }
}

private final class File {
  let file: any DiskFile
  let shared: Shared
  let path: String
  var isNameDurable: Bool

  init(_ file: any DiskFile, path: String, shared: Shared, isNameDurable: Bool) {
    self.file = file
    self.path = path
    self.shared = shared
    self.isNameDurable = isNameDurable
  }

  /// After a write found no space: cuts the write-ahead log there. What lies behind belongs to no
  /// committed transaction of this lap, and what the write left can then never be read as the end of
  /// the transaction that is being refused.
  func cutLog(at offset: Int64) {
    guard path.hasSuffix("-wal") else { return }
    do {
      try file.truncate(to: min(offset, try file.size()))
      try file.sync()
    } catch {
      shared.isFailed = true
    }
  }

  static func at(_ pointer: UnsafeMutableRawPointer) -> File {
    // SQLite hands back what `open` stored; anything else is our own bug.
    Unmanaged<File>.fromOpaque(pointer).takeUnretainedValue()
  }
}

private func world(_ pointer: UnsafeMutableRawPointer) -> Shared {
  Unmanaged<Shared>.fromOpaque(pointer).takeUnretainedValue()
}

/// The folder of a path, "" for the root.
private func folder(of path: String) -> String {
  guard let slash = path.lastIndex(of: "/") else { return "" }
  return String(path[..<slash])
}

// MARK: The callbacks

extension DiskVFS {
  private static var callbacks: skein_vfs_callbacks {
    skein_vfs_callbacks(
      open: { context, name, flags, out in
        let shared = world(context)
        let path = String(cString: name)
        return shared.perform(SQLITE_CANTOPEN) { () throws(DiskError) in
          let existed = try shared.disk.exists(path)
          let mode: OpenMode = flags & SQLITE_OPEN_CREATE != 0 ? .create : .readWrite
          let file = File(
            try shared.disk.open(path, mode), path: path, shared: shared, isNameDurable: existed)
          out.pointee = Unmanaged.passRetained(file).toOpaque()
        }
      },
      close: { Unmanaged<File>.fromOpaque($0).release() },
      read: { pointer, buffer, count, offset, got in
        let file = File.at(pointer)
        return file.shared.perform(skein_ioerr_read) { () throws(DiskError) in
          let target = UnsafeMutableRawBufferPointer(start: buffer, count: Int(count))
          got.pointee = Int32(try file.file.read(into: target, at: offset))
        }
      },
      write: { pointer, bytes, count, offset in
        let file = File.at(pointer)
        let result = file.shared.perform(skein_ioerr_write) { () throws(DiskError) in
          try file.file.write([UnsafeRawBufferPointer(start: bytes, count: Int(count))], at: offset)
        }
        if result == SQLITE_FULL { file.cutLog(at: offset) }
        return result
      },
      truncate: { pointer, size in
        let file = File.at(pointer)
        return file.shared.perform(skein_ioerr_truncate) { () throws(DiskError) in
          try file.file.truncate(to: size)
        }
      },
      sync: { pointer in
        let file = File.at(pointer)
        let shared = file.shared
        let result = shared.perform(skein_ioerr_fsync) { () throws(DiskError) in
          try file.file.sync()
          if !file.isNameDurable {
            try shared.disk.syncDirectory(folder(of: file.path))
            file.isNameDurable = true
          }
        }
        // Whatever the reason, even want of space: the state on disk is unknown now (R56).
        if result != SQLITE_OK { shared.isFailed = true }
        return result
      },
      size: { pointer, out in
        let file = File.at(pointer)
        return file.shared.perform(skein_ioerr_fstat) { () throws(DiskError) in
          out.pointee = try file.file.size()
        }
      },
      remove: { context, name, syncDirectory in
        let shared = world(context)
        let path = String(cString: name)
        var missing = false
        let result = shared.perform(skein_ioerr_delete) { () throws(DiskError) in
          missing = try !shared.disk.exists(path)
          if missing { return }
          try shared.disk.remove(path)
          if syncDirectory != 0 { try shared.disk.syncDirectory(folder(of: path)) }
        }
        return result == SQLITE_OK && missing ? skein_ioerr_delete_noent : result
      },
      exists: { context, name, result in
        let shared = world(context)
        return shared.perform(skein_ioerr_access) { () throws(DiskError) in
          result.pointee = try shared.disk.exists(String(cString: name)) ? 1 : 0
        }
      },
      random: { world($0).random.next() },
      wall_milliseconds: { world($0).time.wallMilliseconds })
  }
}
