package import CommitLog
import RecordFormat
import SkeinCore

/// One seeded life of two compacted partitions: producers that overwrite and delete keys, more keys than
/// the cleaner's map holds, steps of flusher, write-behind and cleaner in any order, kills, power cuts at
/// any disk operation, failing and full disks, lost checkpoints; after every restart, and now and then,
/// everything readable is compared with the shadow. The same seed gives the same run.
///
/// Threading: one thread; every step of every "thread" of the broker is chosen by the scheduler.
package final class CompactionSimulation {
  package struct Options: Sendable {
    package var steps = 260
    package var breakages: Set<LogBreakage> = []
    package var trace: (@Sendable (String) -> Void)?
    package init() {}
  }

  /// What a run did, so that tests can see that it did something.
  package struct Statistics: Sendable, Equatable {
    package var appends = 0
    package var rounds = 0
    package var abandoned = 0
    package var dropped = 0
    package var tombstonesDropped = 0
    package var restarts = 0
    package var powerCuts = 0
    package var lostCheckpoints = 0
    package var retries = 0
    package var audits = 0
    /// Rounds of the final cleaning: more than one where the keys do not fit the map.
    package var finalRounds = 0

    package init() {}

    package mutating func add(_ other: Self) {
      appends += other.appends
      rounds += other.rounds
      abandoned += other.abandoned
      dropped += other.dropped
      tombstonesDropped += other.tombstonesDropped
      restarts += other.restarts
      powerCuts += other.powerCuts
      lostCheckpoints += other.lostCheckpoints
      retries += other.retries
      audits += other.audits
      finalRounds += other.finalRounds
    }
  }

  struct Batch {
    var sequence: Int32
    var records: [CompactionShadow.Record]
    var base: Int64?
    var isAcknowledged = false
  }

  /// An idempotent producer of one partition (P10).
  struct Producer {
    var id: Int64
    var partition: Int
    var epoch: Int16 = 0
    var sequence: Int32 = 0
    var batches: [Batch] = []
  }

  static let tombstoneMilliseconds: Int64 = 400_000
  let seed: UInt64
  let options: Options
  let random: SeededRandom
  let disk: SimulatedDisk
  let time = SimulatedTime()
  let configuration: LogConfiguration
  var settings: [PartitionSettings]
  let topic = TopicID(high: 3, low: 4)
  let keys: Int

  var directory: LogDirectory?
  var shadows: [CompactionShadow]
  var producers: [Producer] = []
  var statistics = Statistics()
  var counted = CleanerStatistics.Snapshot()
  /// Checkpoints were destroyed since the producers were last settled.
  var lostProducers = false
  var roundStarted: Int64?
  var longestRound: Int64 = 0
  var values = 0
  var step = 0

  package init(seed: UInt64, options: Options = Options()) {
    self.seed = seed
    self.options = options
    let random = SeededRandom(seed: seed)
    self.random = random
    disk = SimulatedDisk(seed: random.next())
    configuration = Self.configuration(random, options)
    keys = 4 + random.below(60)
    settings = (0..<2).map { index in
      var settings = PartitionSettings()
      settings.isCompacted = true
      settings.isRetained = index == 1 && random.chance(40)
      settings.retentionMilliseconds = nil
      settings.retentionBytes = 12_000
      settings.segmentBytes = Int64(1500 + random.below(6) * 1000)
      settings.segmentMilliseconds = 60_000
      settings.minimumDirtyRatio = [0.0, 0.2, 0.5][random.below(3)]
      settings.compactionLagMilliseconds = random.chance(25) ? 5000 : 0
      settings.tombstoneMilliseconds = Self.tombstoneMilliseconds
      return settings
    }
    shadows = settings.map { _ in CompactionShadow() }
    for index in 0..<6 { producers.append(Producer(id: Int64(500 + index), partition: index % 2)) }
  }

  private static func configuration(_ random: SeededRandom, _ options: Options) -> LogConfiguration {
    var configuration = LogConfiguration(clusterID: "simulation")
    configuration.journal.blockSize = 512
    configuration.journal.fileSize = 32 << 10
    configuration.journal.fileCount = 3
    configuration.maxQueuedBytes = 64 << 10
    configuration.maxGroupBytes = 4096
    configuration.tailBudgetBytes = random.below(3) * 4096
    configuration.writeBehindBytes = 1024 + random.below(4096)
    configuration.writeRunBytes = 2048
    configuration.pacedSyncBytes = Int64(1024 + random.below(4096))
    configuration.maxOpenFiles = 1 + random.below(4)
    configuration.bulkSyncAbove = random.chance(30) ? 2 : 64
    configuration.reserveBytes = 32 << 10
    configuration.emergencyBytes = 4096
    configuration.smallestRecycledBytes = 512
    configuration.maxRecycledBytes = random.chance(70) ? 20_000 : 0
    // About 24 keys at the least: the map is a few KiB at most.
    configuration.compactionBytes = 1024 + random.below(3) * 512
    configuration.breakages = options.breakages
    return configuration
  }

  // MARK: Running

  /// Runs the whole life. Throws `SimulationFailure` at the first promise that does not hold.
  package func run() throws -> Statistics {
    do {
      try open()
      while step < options.steps {
        step += 1
        time.advance(milliseconds: Int64(random.below(200)))
        do { try takeStep() } catch let error as LogError { try restart(after: error) }
      }
      try finish()
    } catch {
      throw SimulationFailure(
        seed: seed, step: step, what: "\(error)",
        replay: "SKEIN_COMPACTION_SEED=%d swift test --filter CompactionSimulationTests")
    }
    return statistics
  }

  private func takeStep() throws {
    switch random.below(100) {
    case 0..<36: try produce()
    case 36..<50: try flush()
    case 50..<66: try writeBehind(1 + random.below(8))
    case 66..<88: try clean(1 + random.below(12))
    case 88..<91: try maintain()
    case 91..<93: try audit()
    case 93..<95: try sendNewestAgain(random.below(producers.count))
    case 95..<96: try deleteRecords()
    case 96..<99: try trouble()
    default: try close()
    }
  }

  private func trouble() throws {
    switch random.below(9) {
    case 0...3: disk.crash(atOperation: disk.operations + 1 + random.below(30))
    case 4: try powerFails()
    case 5: disk.inject(DiskFault(.sync, after: random.below(4), .error(.io)))
    case 6: disk.inject(DiskFault(.write, after: random.below(4), .error(.io)))
    case 7: disk.setCapacity(random.chance(50) ? 0 : 200 << 10)
    default: try loseCheckpoints()
    }
  }

  func trace(_ what: @autoclosure () -> String) { options.trace?("step \(step): \(what())") }

  private func powerFails() throws {
    statistics.powerCuts += 1
    trace("power cut")
    disk.powerCut(seed: random.next())
    try reopen()
  }

  /// The newest checkpoint, or all of them, do not read any more: the segments must say what they hold.
  private func loseCheckpoints() throws {
    statistics.lostCheckpoints += 1
    disk.kill()
    let found = disk.allFiles().filter { $0.hasPrefix("checkpoint-") && !$0.hasSuffix(".tmp") }
    let isAll = random.chance(40)
    for path in isAll ? found : Array(found.suffix(1)) { disk.overwrite(path, at: 0, [0, 0, 0, 0]) }
    trace("lost \(isAll ? "all checkpoints" : "the newest checkpoint")")
    for index in shadows.indices { shadows[index].forgetStarts() }
    lostProducers = lostProducers || isAll
    try reopen()
    for index in producers.indices { try sendNewestAgain(index) }
  }

  private func restart(after error: LogError) throws {
    trace("\(error)")
    if case .corrupt = error { throw error }
    disk.clearFaults()
    if disk.isOff || random.chance(50) {
      try powerFails()
    } else {
      disk.kill()
      try reopen()
    }
  }

  /// Brings everything to rest: all acknowledged, all sealed, all cleaned: one record for each key.
  private func finish() throws {
    disk.crash(atOperation: nil)
    disk.clearFaults()
    disk.setCapacity(1 << 40)
    if disk.isOff {
      try powerFails()
    } else if isOffline || directory == nil {
      disk.kill()
      try reopen()
    }
    _ = try directory?.maintenanceStep()
    for index in producers.indices { try resend(index) }
    try drain()
    for index in settings.indices {
      settings[index].minimumDirtyRatio = 0
      settings[index].isRetained = false
      try log(index).setSettings(settings[index])
    }
    try audit()
    for _ in 0..<2 {
      time.advance(milliseconds: Self.tombstoneMilliseconds + 60_001)
      try drain()
      let before = directory?.cleanerStatistics.rounds ?? 0
      try cleanUp()
      statistics.finalRounds += (directory?.cleanerStatistics.rounds ?? 0) - before
      try audit()
    }
    // The tail cache has what it has, cleaned or not: look at the segments alone.
    try close()
    try audit(isClean: true)
  }

  func log(_ partition: Int) throws -> PartitionLog {
    guard let directory else { throw ShadowError("no directory") }
    let key = TopicPartition(topic: topic, partition: Int32(partition))
    return directory.partition(key) ?? directory.createPartition(key, settings: settings[partition])
  }

  var isOffline: Bool {
    if case .offline? = directory?.state { return true }
    return false
  }
}
