internal import SkeinCore

/// The checkpoint files of a directory: `checkpoint-<generation>`, the newest two kept (R50).
/// Threading: the write-behind thread, and recovery before it exists.
struct CheckpointStore {
  let disk: any Disk
  private(set) var generation: UInt64 = 0

  enum Found {
    /// A new directory, or one whose checkpoints are all gone.
    case none
    case newest(Checkpoint)
    /// The newest does not read; what was appended since this older one must be found by scanning.
    case older(Checkpoint)
    /// Checkpoint files exist, and none of them reads.
    case unreadable
  }

  init(disk: any Disk) { self.disk = disk }

  /// Reads the newest checkpoint that is whole.
  mutating func load() throws(DiskError) -> Found {
    let generations = try disk.list("").compactMap { LogPaths.checkpointGeneration($0.name) }.sorted(by: >)
    generation = generations.first ?? 0
    for candidate in generations {
      guard let bytes = try SmallFile.read(LogPaths.checkpoint(candidate), disk: disk),
        let checkpoint = Checkpoint(decoding: bytes), checkpoint.generation == candidate
      else { continue }
      return candidate == generation ? .newest(checkpoint) : .older(checkpoint)
    }
    return generations.isEmpty ? .none : .unreadable
  }

  /// Makes `checkpoint` the newest, durably; then removes all but it and the one before.
  mutating func save(_ checkpoint: Checkpoint) throws(DiskError) {
    var checkpoint = checkpoint
    checkpoint.generation = generation + 1
    try SmallFile.replace(
      LogPaths.checkpoint(checkpoint.generation), with: checkpoint.encoded(), folder: "", disk: disk)
    generation = checkpoint.generation
    for entry in try disk.list("") {
      guard let old = LogPaths.checkpointGeneration(entry.name), old + 1 < generation else { continue }
      try disk.remove(LogPaths.checkpoint(old))
    }
  }
}
