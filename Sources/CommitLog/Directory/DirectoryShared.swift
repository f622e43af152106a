internal import SkeinCore
internal import Synchronization

/// What every partition of a directory shares with it: limits, seams, caches, the submit queue and
/// the directory's condition. It owns no partition. Threading: any thread.
final class DirectoryShared: Sendable {
  let disk: any Disk
  let configuration: LogConfiguration
  let time: any TimeSource
  let queue: SubmitQueue
  let files: FileCache
  let indexes: IndexCache

  /// Bytes of all batches in memory, and of those that are not in a segment yet.
  let tailBytes = Atomic<Int>(0)
  let unwrittenBytes = Atomic<Int>(0)
  /// Producers remembered in all partitions (P9).
  let producerCount = Atomic<Int>(0)

  /// The largest frame and batch that the journal takes, in bytes.
  let largestEntry = Atomic<Int>(.max)

  /// Retention waits because the wall clock has jumped (R60).
  let retentionPaused = Atomic<Bool>(false)

  /// Held where the cleaner makes names in a partition's folder, and where a topic's folder goes: so
  /// nothing appears in a folder that is being removed.
  let names = Mutex<Void>(())
  let cleaning = CleanerStatistics()

  /// 0 online, 1 full, 2 offline; the reason stands in `offlineReason`.
  private let condition = Atomic<UInt8>(0)
  private let offlineReason = Mutex<LogError?>(nil)

  init(disk: any Disk, configuration: LogConfiguration, time: any TimeSource) {
    self.disk = disk
    self.configuration = configuration
    self.time = time
    self.queue = SubmitQueue(
      maxBytes: configuration.maxQueuedBytes, maxEntries: configuration.maxQueuedEntries)
    self.files = FileCache(disk: disk, limit: configuration.maxOpenFiles)
    self.indexes = IndexCache(limit: configuration.indexCacheBytes)
  }

  var isFull: Bool { condition.load(ordering: .relaxed) == 1 }
  var isOffline: Bool { condition.load(ordering: .acquiring) == 2 }

  var state: LogDirectory.State {
    switch condition.load(ordering: .acquiring) {
    case 0: .online
    case 1: .full
    default: .offline(offlineReason.withLock { $0 } ?? Self.unknownReason)
    }
  }

  private static let unknownReason = LogError.offline(DiskError(.io, operation: "unknown", path: ""))

  /// Enters or leaves the disk-full condition (R57); an offline directory stays offline.
  func setFull(_ full: Bool) {
    _ = condition.compareExchange(
      expected: full ? 0 : 1, desired: full ? 1 : 0, ordering: .acquiringAndReleasing)
  }

  /// Takes the directory offline for the life of the process (R56); the first reason stays.
  func takeOffline(_ error: LogError) {
    offlineReason.withLock { if $0 == nil { $0 = error } }
    condition.store(2, ordering: .releasing)
  }

  var offlineFault: Fault {
    let why = offlineReason.withLock { $0 }.map { "\($0)" } ?? "unknown"
    return Fault(
      .logOffline,
      "the log directory is offline after an I/O error (\(why)); restart the broker once the disk is in order"
    )
  }
}
