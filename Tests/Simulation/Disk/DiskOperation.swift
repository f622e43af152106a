package import CommitLog

/// One call at the disk seam, as hooks and faults see it.
package struct DiskOperation: Sendable, Hashable {
  package enum Kind: Sendable, Hashable, CaseIterable {
    case open, createFile, createDirectory, list, rename, remove, removeDirectory, syncDirectory
    case exists, space, lock, size, read, write, sync, truncate, allocate

    /// Whether a power cut at this operation can leave another disk than one just before it.
    package var changesState: Bool {
      switch self {
      case .createFile, .createDirectory, .rename, .remove, .removeDirectory, .syncDirectory, .write,
        .sync, .truncate, .allocate:
        true
      case .open, .list, .exists, .space, .lock, .size, .read: false
      }
    }
  }

  package var kind: Kind
  package var path: String
  /// Bytes read or written.
  package var count: Int
  /// Counts the operations that change state, this one included; 0 for the others.
  package var number: Int
}

/// What a hook decides about an operation.
package enum DiskVerdict: Sendable, Hashable {
  case proceed
  /// The call throws; a failed sync loses data as Linux does.
  case fail(DiskError.Kind)
  /// The power goes during the call: it throws, and so does every call until `powerCut` or `kill`.
  case crash
}

/// A fault that waits for its operation.
package struct DiskFault: Sendable {
  package enum Effect: Sendable, Hashable {
    case error(DiskError.Kind)
    /// The write lands this many bytes away from where it should.
    case misdirect(by: Int64)
    /// The write is reported as done and never happens.
    case lose
    /// One bit of the bytes written (never those in memory) is flipped.
    case flipBit(UInt64)
  }

  package var kind: DiskOperation.Kind
  /// Part of the path; empty matches all.
  package var path: String
  /// How many matching operations pass before it strikes.
  package var after: Int
  /// How often it strikes; `.max` for ever.
  package var times: Int
  package var effect: Effect

  package init(
    _ kind: DiskOperation.Kind, path: String = "", after: Int = 0, times: Int = 1, _ effect: Effect
  ) {
    self.kind = kind
    self.path = path
    self.after = after
    self.times = times
    self.effect = effect
  }
}
