package import SkeinCore

/// What can go wrong in the commit log, as the modules inside it see it. A closed enum: every
/// caller decides for every case. `fault` is what a client is told.
package enum LogError: Error, Sendable, Hashable, CustomStringConvertible {
  /// A read, write or sync failed: the log directory is offline until the broker starts again; what
  /// was in flight may or may not be durable (R56).
  case offline(DiskError)
  /// The disk has no room; nothing was changed (R57).
  case full(DiskError)
  /// The journal has no room for this group until `recycle(through:)`; nothing was written.
  case journalFull(needed: Int64, free: Int64)
  /// One entry is larger than any place in the journal; nothing was written.
  case entryTooLarge(size: Int64, limit: Int64)
  /// Stored bytes fail their checks and are not a torn tail (R52). No partition: it is not known
  /// whose they were, or they belong to the directory itself.
  case corrupt(TopicPartition?, what: String)
  /// Not a file of ours, or written by a later version.
  case invalidFormat(path: String, what: String)
  /// Another process uses the log directory.
  case locked(path: String)

  /// The class of a disk error at a place where it ends the operation.
  package init(_ error: DiskError) {
    switch error.kind {
    case .noSpace: self = .full(error)
    case .locked: self = .locked(path: error.path)
    case .notFound, .exists, .io, .permission, .tooManyFiles: self = .offline(error)
    }
  }

  /// What a client is told; never a path.
  package var fault: Fault {
    switch self {
    case .offline: Fault(.logOffline, "the log directory met an I/O error and is offline")
    case .full: Fault(.diskFull, "the disk of the log directory is full")
    case .journalFull:
      Fault(
        .overloaded, "the journal is full until segments have been written behind",
        retryAfterMilliseconds: 50)
    case .entryTooLarge(let size, let limit):
      Fault(
        .batchTooLarge, "the batch needs \(size) bytes in the journal, which takes at most \(limit)",
        metadata: ["size": "\(size)", "limit": "\(limit)"])
    case .corrupt: Fault(.dataCorrupt, "stored bytes of this partition fail their checks")
    case .invalidFormat: Fault(.logOffline, "the log directory has a format that this broker cannot read")
    case .locked: Fault(.logOffline, "the log directory is in use by another process")
    }
  }

  package var description: String {
    switch self {
    case .offline(let error): "log directory offline: \(error)"
    case .full(let error): "disk full: \(error)"
    case .journalFull(let needed, let free): "journal full: \(needed) bytes needed, \(free) free"
    case .entryTooLarge(let size, let limit): "entry of \(size) bytes exceeds the journal's limit of \(limit)"
    case .corrupt(let key, let what): "corrupt (\(key.map { "\($0)" } ?? "directory")): \(what)"
    case .invalidFormat(let path, let what): "\(path): \(what)"
    case .locked(let path): "\(path): in use by another process"
    }
  }
}

/// Runs a disk operation and turns what it throws into a `LogError`.
package func onDisk<R>(_ body: () throws(DiskError) -> R) throws(LogError) -> R {
  do { return try body() } catch { throw LogError(error) }
}
