import CommitLog
import RecordFormat
import SkeinCore

/// Restarts, and the comparison with the shadow.
extension CompactionSimulation {
  func open() throws {
    for _ in 0..<40 {
      do throws(LogError) {
        directory = try LogDirectory.open(
          disk: disk, configuration: configuration, time: time, random: random)
        counted = CleanerStatistics.Snapshot()
        return
      } catch {
        directory = nil
        switch error {
        case .offline, .full: break
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
    directory = nil
    roundStarted = nil
    disk.clearFaults()
    if random.chance(20) { disk.crash(atOperation: disk.operations + 1 + random.below(30)) }
    try open()
    disk.crash(atOperation: nil)
    for partition in settings.indices {
      let log = try log(partition)
      log.setSettings(settings[partition])
      if let why = log.corruption { throw ShadowError("partition \(partition) is offline: \(why)") }
      try shadows[partition].restart(end: log.logEnd.rawValue)
      trace("partition \(partition): \(log.logStart) ..< \(log.logEnd) \(log.segmentTable)")
    }
    for index in producers.indices {
      for number in producers[index].batches.indices where !producers[index].batches[number].isAcknowledged {
        producers[index].batches[number].base = nil
      }
    }
    try audit()
  }

  /// Reads everything and compares it.
  /// - Parameter isClean: nothing but the last value of each key may be left.
  func audit(isClean: Bool = false) throws {
    for partition in settings.indices {
      let log = try log(partition)
      let present: [Int64: CompactionShadow.Record]
      do throws(Fault) { present = try readEverything(log) } catch {
        // A cold read that meets a dead disk is told so, and the power is about to go anyway.
        if error.reason == .logOffline || disk.isOff { return }
        throw ShadowError("partition \(partition): \(error)")
      }
      statistics.audits += 1
      let (start, end) = (log.logStart.rawValue, log.highWatermark.rawValue)
      do {
        try shadows[partition].compare(
          present, start: start, end: end, now: time.wallMilliseconds, retention: Self.tombstoneMilliseconds,
          slack: longestRound)
        try shadows[partition].compareEpochs(
          log.epochs.map { (epoch: $0.epoch, start: $0.start) }, from: start, to: end)
      } catch {
        throw ShadowError("partition \(partition), \(start) ..< \(end): \(error); \(log.segmentTable)")
      }
      guard isClean else { continue }
      let live = shadows[partition].liveKeys(from: start, to: end)
      if present.count != live {
        throw ShadowError(
          "partition \(partition): \(present.count) records are left for \(live) keys, \(present.values.count { $0.value == nil }) of them tombstones; \(log.segmentTable)"
        )
      }
    }
  }

  private func readEverything(_ log: PartitionLog) throws(Fault) -> [Int64: CompactionShadow.Record] {
    var present: [Int64: CompactionShadow.Record] = [:]
    var next = log.logStart
    let maxBytes = 200 + random.below(8000)
    while next < log.highWatermark {
      let (batches, after): ([SharedBytes], Offset)
      switch try log.read(from: next, maxBytes: maxBytes) {
      case .atEnd: return present
      case .memory(let found, let end): (batches, after) = (found, end)
      case .file(let plan):
        guard let directory else { return present }
        // What stands between planning and reading is anybody's guess: the cleaner swaps, files go.
        do {
          try clean(random.below(3))
          try writeBehind(random.below(3))
        } catch { throw Fault(.logOffline, "\(error)") }
        let result = try directory.read(plan)
        (batches, after) = (result.batches, result.next)
      }
      guard after > next else { throw Fault(.internalError, "a read from \(next) leads to \(after)") }
      do { try take(batches, from: next.rawValue, into: &present) } catch {
        throw Fault(.internalError, "\(error)")
      }
      next = after
    }
    return present
  }

  private func take(
    _ batches: [SharedBytes], from start: Int64, into present: inout [Int64: CompactionShadow.Record]
  ) throws {
    var reader = BatchReader(limits: BatchLimits())
    var due: Int64?
    for batch in batches {
      try batch.withUnsafeBytes { bytes in
        let header = try BatchHeader(parsing: bytes)
        if let due, header.baseOffset != due {
          throw ShadowError("a batch at \(header.baseOffset) where \(due) was due")
        }
        due = header.nextOffset
        try reader.forEach(bytes) { record in
          guard record.offset >= start else { return }
          present[record.offset] = CompactionShadow.Record(
            key: record.key.map { String(decoding: $0, as: UTF8.self) } ?? "?",
            value: record.value.map { String(decoding: $0, as: UTF8.self) }, timestamp: record.timestamp,
            headers: record.headers.map { String(decoding: $0.value ?? $0.name, as: UTF8.self) },
            leaderEpoch: header.leaderEpoch)
        }
      }
    }
  }
}
