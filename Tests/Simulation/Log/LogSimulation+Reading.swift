import CommitLog
import RecordFormat
import SkeinCore

/// Readers, restarts, and the comparison with the shadow model.
extension LogSimulation {
  /// Reads somewhere and compares what came.
  func read() throws {
    let partition = random.below(settings.count)
    let log = try log(partition)
    let span = log.logStart.distance(to: log.highWatermark)
    guard span > 0 else { return }
    let from = log.logStart.advanced(by: Int64(random.below(Int(span))))
    statistics.reads += 1
    do {
      _ = try readOnce(log, partition, from: from, maxBytes: 1 + random.below(6000))
    } catch let fault as Fault {
      try excuse(fault, partition)
    }
  }

  /// The next offset, nil at the end; every record goes through the shadow.
  func readOnce(_ log: PartitionLog, _ partition: Int, from: Offset, maxBytes: Int) throws -> Offset? {
    let batches: [SharedBytes]
    let next: Offset
    switch try log.read(from: from, maxBytes: maxBytes) {
    case .atEnd: return nil
    case .memory(let found, let after): (batches, next) = (found, after)
    case .file(let plan):
      guard let directory else { return nil }
      statistics.fileReads += 1
      let result = try directory.read(plan)
      (batches, next) = (result.batches, result.next)
    }
    guard next > from else { throw ShadowError("a read from \(from) leads to \(next)") }
    for (offset, value) in try records(batches) where offset >= from.rawValue {
      try shadows[partition].see(value, at: offset)
    }
    return next
  }

  private func records(_ batches: [SharedBytes]) throws -> [(Int64, String)] {
    var reader = BatchReader(limits: BatchLimits())
    var found: [(Int64, String)] = []
    for batch in batches {
      _ = try batch.withUnsafeBytes { bytes in
        try reader.forEach(bytes) { record in
          found.append((record.offset, record.value.map { String(decoding: $0, as: UTF8.self) } ?? ""))
        }
      }
    }
    return found
  }

  /// Searches by time: the answer must be a readable record that is late enough.
  func search() throws {
    let partition = random.below(settings.count)
    let log = try log(partition)
    let wanted = time.wallMilliseconds - Int64(random.below(4000))
    do throws(Fault) {
      guard let found = try directory?.find(log.offset(forTimestamp: wanted)) else { return }
      guard found.timestamp >= wanted, found.offset >= log.logStart, found.offset < log.highWatermark else {
        throw Fault(.internalError, "searching \(wanted) found \(found)")
      }
    } catch {
      try excuse(error, partition)
    }
  }

  private func excuse(_ fault: Fault, _ partition: Int) throws {
    if fault.reason == .logOffline { return }
    // A cold read that meets a dead disk is told so, and the power is about to go anyway.
    if fault.reason == .dataCorrupt, disk.isOff || shadows[partition].isExcused { return }
    throw ShadowError("partition \(partition): \(fault)")
  }

  // MARK: Restarts

  func open() throws {
    for _ in 0..<40 {
      do {
        directory = try LogDirectory.open(
          disk: disk, configuration: configuration, time: time, random: random)
        try checkEpoch()
        return
      } catch let error as LogError {
        // It may fail in the middle of recovery too.
        directory = nil
        switch error {
        case .offline, .full: break
        // A damaged ring is refused as a whole; no promise is broken by that.
        default: throw error
        }
        disk.clearFaults()
        disk.setCapacity(1 << 40)
        if disk.isOff { disk.powerCut(seed: random.next()) } else { disk.kill() }
      }
    }
    throw ShadowError("the directory does not open")
  }

  func reopen() throws {
    statistics.restarts += 1
    trace("restart; files \(disk.allFiles())")
    directory = nil
    waiting = []
    deletions = []
    pendingFailure = nil
    disk.clearFaults()
    // Recovery is interrupted as well.
    if random.chance(20) { disk.crash(atOperation: disk.operations + 1 + random.below(30)) }
    try open()
    disk.crash(atOperation: nil)
    try compareAll()
    try restartForgottenProducers()
    for index in producers.indices {
      for batch in producers[index].batches.indices where !producers[index].batches[batch].isAcknowledged {
        producers[index].batches[batch].base = nil
      }
    }
  }

  /// A producer whose acknowledged batches went with a volatile end begins anew; so would a real one.
  private func restartForgottenProducers() throws {
    for index in producers.indices where !shadows[producers[index].partition].isDurable {
      let end = try log(producers[index].partition).logEnd.rawValue
      let isForgotten = producers[index].batches.contains { $0.isAcknowledged && $0.base ?? 0 >= end }
      if isForgotten { producers[index].restart() }
    }
  }

  /// Every start raises the leader epoch (R22).
  private func checkEpoch() throws {
    guard let epoch = directory?.recovery.leaderEpoch else { return }
    if let last = leaderEpoch, epoch <= last { throw ShadowError("leader epoch \(epoch) after \(last)") }
    leaderEpoch = epoch
  }

  private func compareAll() throws {
    for partition in settings.indices {
      let log = try log(partition)
      log.setSettings(settings[partition])
      guard log.logStart <= log.highWatermark, log.highWatermark <= log.durableEnd,
        log.durableEnd <= log.logEnd
      else {
        throw ShadowError(
          "partition \(partition): \(log.logStart) <= \(log.highWatermark) <= \(log.durableEnd) <= \(log.logEnd)"
        )
      }
      trace(
        "partition \(partition): \(log.logStart) ..< \(log.logEnd) \(log.corruption ?? "") \(log.segmentTable)"
      )
      shadows[partition].forgetVolatile(from: log.logEnd.rawValue)
      do { try compare(log, partition) } catch let error as ShadowError {
        throw ShadowError("partition \(partition): \(error)")
      }
    }
    damageSettlesAfter = 0
  }

  private func compare(_ log: PartitionLog, _ partition: Int) throws {
    if let why = log.corruption {
      guard shadows[partition].isExcused else { throw ShadowError("offline: \(why)") }
      try acceptLoss(log, partition)
    }
    do throws(Fault) {
      let present = try readEverything(log)
      // Damage that nothing has followed may pass for a torn tail.
      if damageSettlesAfter > 0 { forgetMissing(partition, present) }
      do {
        try shadows[partition].compare(present, start: log.logStart.rawValue, end: log.logEnd.rawValue)
      } catch { throw Fault(.internalError, "\(error)") }
    } catch {
      guard error.reason == .dataCorrupt, shadows[partition].isExcused else { throw ShadowError("\(error)") }
      try acceptLoss(log, partition)
    }
  }

  /// The operator gives up what is damaged: the rest must be served, unaltered.
  private func acceptLoss(_ log: PartitionLog, _ partition: Int) throws {
    statistics.corruptPartitions += 1
    guard let directory, directory.acceptLoss(log.key) else { throw ShadowError("nothing to accept") }
    while try directory.writeBehindStep() {}
    trace("loss accepted: \(log.segmentTable)")
    forgetMissing(partition, try readEverything(log))
  }

  private func forgetMissing(_ partition: Int, _ present: [Int64: String]) {
    shadows[partition].acceptLoss(keeping: present)
    for index in producers.indices where producers[index].partition == partition {
      producers[index].restart()
    }
  }

  private func readEverything(_ log: PartitionLog) throws(Fault) -> [Int64: String] {
    var present: [Int64: String] = [:]
    var next = log.logStart
    let maxBytes = 200 + random.below(8000)
    while next < log.highWatermark {
      guard case .file(let plan) = try log.read(from: next, maxBytes: maxBytes), let directory else {
        throw Fault(.internalError, "nothing to read at \(next)")
      }
      let result = try directory.read(plan)
      guard result.next > next else {
        throw Fault(.internalError, "a read from \(next) leads to \(result.next)")
      }
      do {
        for (offset, value) in try records(result.batches) where offset >= next.rawValue {
          present[offset] = value
        }
      } catch { throw Fault(.internalError, "\(error)") }
      next = result.next
    }
    return present
  }
}
