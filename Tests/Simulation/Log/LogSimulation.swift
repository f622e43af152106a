package import CommitLog
import RecordFormat
import SkeinCore

/// One seeded life of a log directory: producers, readers, flushes, write-behind, retention, deletes,
/// clean closes, kills, power cuts at any disk operation, full disks and I/O errors, with every
/// restart compared with the shadow model. The same seed gives the same run.
///
/// Threading: one thread; every step of every "thread" of the broker is chosen by the scheduler.
package final class LogSimulation {
  package struct Options: Sendable {
    package var steps = 160
    /// Deliberate defects that the run should notice.
    package var breakages: Set<LogBreakage> = []
    package var journalBreakage: JournalConfiguration.Breakage = []
    /// Also damage bytes on the medium.
    package var damages = true
    /// Half of all trouble is damage: for the defects that only damage brings out.
    package var damagesOften = false
    /// Told what goes wrong from outside, and every restart.
    package var trace: (@Sendable (String) -> Void)?
    package init() {}
  }

  /// What a run did, so that tests can see that it did something.
  package struct Statistics: Sendable, Equatable {
    package var appends = 0
    package var acknowledgements = 0
    package var duplicates = 0
    package var reads = 0
    package var restarts = 0
    package var powerCuts = 0
    package var fileReads = 0
    package var deletes = 0
    package var damages = 0
    package var corruptPartitions = 0
    package var refusals = 0

    package init() {}

    package mutating func add(_ other: Self) {
      appends += other.appends
      acknowledgements += other.acknowledgements
      duplicates += other.duplicates
      reads += other.reads
      restarts += other.restarts
      powerCuts += other.powerCuts
      fileReads += other.fileReads
      deletes += other.deletes
      damages += other.damages
      corruptPartitions += other.corruptPartitions
      refusals += other.refusals
    }
  }

  let seed: UInt64
  let options: Options
  let random: SeededRandom
  let disk: SimulatedDisk
  let time = SimulatedTime()
  let configuration: LogConfiguration
  let settings: [PartitionSettings]
  let topic = TopicID(high: 7, low: 9)

  var directory: LogDirectory?
  var shadows: [ShadowPartition]
  var producers: [SimulatedProducer] = []
  /// Appends and retries whose acknowledgement waits, in order.
  var waiting: [Waiting] = []
  /// Deletions whose acknowledgement waits.
  var deletions: [(partition: Int, start: Int64)] = []
  package var statistics = Statistics()
  /// Of the last start that succeeded.
  var leaderEpoch: LeaderEpoch?
  /// Group commits that must still follow the last damage before a restart can be expected to notice
  /// it: until then the damaged bytes may pass for a torn tail (R52).
  var damageSettlesAfter = 0
  /// A comparison that failed where nothing could be thrown.
  var pendingFailure: Fault?
  var step = 0

  struct Waiting {
    var producer: Int
    var sequence: Int32
    var epoch: Int16
    var base: Int64
    var end: Int64
  }

  package init(seed: UInt64, options: Options = Options()) {
    self.seed = seed
    self.options = options
    let random = SeededRandom(seed: seed)
    self.random = random
    disk = SimulatedDisk(seed: random.next())
    configuration = Self.configuration(random, options)
    settings = Self.settings(random)
    shadows = settings.map {
      ShadowPartition(
        isDurable: $0.durability == .fsync,
        hasRetention: $0.retentionMilliseconds != nil || $0.retentionBytes != nil)
    }
    for index in 0..<settings.count * 2 {
      producers.append(SimulatedProducer(id: Int64(100 + index), partition: index % settings.count))
    }
  }

  private static func configuration(_ random: SeededRandom, _ options: Options) -> LogConfiguration {
    var configuration = LogConfiguration(clusterID: "simulation")
    configuration.journal.blockSize = 512
    configuration.journal.fileSize = Int64(16 + random.below(3) * 8) << 10
    configuration.journal.fileCount = 2 + random.below(2)
    configuration.journal.breakage = options.journalBreakage
    configuration.maxQueuedBytes = 64 << 10
    configuration.maxGroupBytes = 4096
    configuration.tailBudgetBytes = random.below(3) * 4096
    configuration.writeBehindBytes = 2048 + random.below(4096)
    configuration.writeRunBytes = 2048
    configuration.pacedSyncBytes = Int64(2048 + random.below(8192))
    configuration.maxOpenFiles = 1 + random.below(4)
    configuration.bulkSyncAbove = random.chance(30) ? 2 : 64
    configuration.reserveBytes = 32 << 10
    configuration.emergencyBytes = 4096
    configuration.smallestRecycledBytes = 1024
    configuration.maxRecycledBytes = random.chance(70) ? 20_000 : 0
    configuration.breakages = options.breakages
    return configuration
  }

  private static func settings(_ random: SeededRandom) -> [PartitionSettings] {
    (0..<3 + random.below(3)).map { index in
      var settings = PartitionSettings()
      settings.segmentBytes = Int64(2048 + random.below(6) * 1024)
      settings.segmentMilliseconds = 120_000
      settings.retentionMilliseconds = random.chance(25) ? 60_000 : nil
      settings.retentionBytes = random.chance(15) ? 8192 : nil
      settings.durability = index == 2 && random.chance(50) ? .memory : .fsync
      return settings
    }
  }

  // MARK: Running

  /// Runs the whole life. Throws `SimulationFailure` at the first promise that does not hold.
  package func run() throws -> Statistics {
    do {
      try open()
      while step < options.steps {
        step += 1
        time.advance(milliseconds: Int64(random.below(50)))
        do { try takeStep() } catch let error as LogError {
          try restart(after: error)
        }
      }
      try finish()
    } catch {
      throw SimulationFailure(seed: seed, step: step, what: "\(error)")
    }
    return statistics
  }

  private func takeStep() throws {
    switch random.below(100) {
    case 0..<38: try produce()
    case 38..<56: try flush()
    case 56..<76: try writeBehind()
    case 76..<84: try read()
    case 84..<88: try sendAgain()
    case 88..<91: try maintain()
    case 91..<93: try deleteRecords()
    case 93..<96: try trouble()
    case 96..<97: try close()
    default: try search()
    }
  }

  /// What goes wrong from outside.
  private func trouble() throws {
    if options.damagesOften && random.chance(50) { return damage() }
    switch random.below(options.damages ? 9 : 8) {
    case 0...2: disk.crash(atOperation: disk.operations + 1 + random.below(25))
    case 3:
      try powerFails()
    case 4:
      disk.inject(DiskFault(.sync, after: random.below(4), .error(.io)))
    case 5:
      disk.inject(DiskFault(.write, after: random.below(4), .error(.io)))
    case 6:
      disk.setCapacity(random.below(2) == 0 ? 0 : 160 << 10)
    case 8:
      damage()
    default:
      disk.kill()
      try reopen()
    }
  }

  /// Flips a bit of what is stored, somewhere.
  private func damage() {
    let files = disk.allFiles().filter { $0 != "identity" && $0 != "lock" && $0 != "emergency" }
    guard !files.isEmpty else { return }
    let file = files[random.below(files.count)]
    // Half of the damage goes where it is hardest to tell from a torn tail.
    let path = random.chance(50) ? files.first { $0.hasPrefix("journal") } ?? file : file
    // A ring without its identity is refused as a whole; that is not a partition's loss.
    let first = path.hasPrefix("journal") ? Int(configuration.journal.blockSize) : 0
    let size = disk.contents(path)?.count ?? 0
    guard size > first else { return }
    _ = disk.flipBit(path, byte: first + random.below(size - first), bit: random.below(8))
    statistics.damages += 1
    trace("damage in \(path)")
    damageSettlesAfter = 3
    for partition in shadows.indices {
      shadows[partition].isExcused = true
      if path.contains("checkpoint") { shadows[partition].forgetStarts() }
    }
  }

  func trace(_ what: @autoclosure () -> String) { options.trace?("step \(step): \(what())") }

  private func powerFails() throws {
    trace("power cut")
    statistics.powerCuts += 1
    disk.powerCut(seed: random.next())
    try reopen()
  }

  /// The directory went offline, or the power went during a step: the process starts again.
  private func restart(after error: LogError) throws {
    if case .corrupt = error { throw error }
    disk.clearFaults()
    if disk.isOff || random.chance(50) {
      try powerFails()
    } else {
      disk.kill()
      try reopen()
    }
  }

  /// Brings everything to rest: every batch acknowledged, everything written, closed, read back.
  private func finish() throws {
    disk.crash(atOperation: nil)
    disk.clearFaults()
    disk.setCapacity(1 << 40)
    if disk.isOff {
      try powerFails()
    } else if directory == nil || isOffline {
      disk.kill()
      try reopen()
    }
    try maintain()
    for _ in 0..<3 {
      for index in producers.indices { try resend(index) }
      for _ in 0..<100 where !waiting.isEmpty {
        try flush()
        try writeBehind()
      }
    }
    waiting.removeAll { isOffline(producers[$0.producer].partition) }
    guard waiting.isEmpty else { throw ShadowError("\(waiting.count) batches are never acknowledged") }
    try close()
  }

  /// The partition itself, for damage.
  func isOffline(_ partition: Int) -> Bool {
    (try? log(partition).corruption != nil) ?? false
  }

  var isOffline: Bool {
    if case .offline? = directory?.state { return true }
    return false
  }

  func log(_ partition: Int) throws -> PartitionLog {
    guard let directory else { throw ShadowError("no directory") }
    let key = TopicPartition(topic: topic, partition: Int32(partition))
    return directory.partition(key) ?? directory.createPartition(key, settings: settings[partition])
  }
}

/// A promise that did not hold, and how to see it again.
package struct SimulationFailure: Error, CustomStringConvertible {
  package let seed: UInt64
  package let step: Int
  package let what: String
  var replay = "SKEIN_SIMULATION_SEED=%d swift test --filter LogSimulationTests"

  package var description: String {
    "seed \(seed), step \(step): \(what) (replay: \(replay.replacing("%d", with: "\(seed)")))"
  }
}
