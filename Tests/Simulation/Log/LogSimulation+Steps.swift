import CommitLog
import RecordFormat
import SkeinCore

/// What the scheduler can choose.
extension LogSimulation {
  // MARK: Producing

  func produce() throws {
    let index = random.below(producers.count)
    // A producer with a gap behind it must not go on; it sends the gap first.
    let behind = producers[index].batches.contains { $0.base == nil }
    if behind || producers[index].unacknowledged.count > 20 { return try resend(index) }
    let batch = producers[index].make(random)
    shadows[producers[index].partition].produce(producers[index].batches[batch].values)
    try send(index, batch)
  }

  /// Sends everything that is not acknowledged once more, oldest first.
  func resend(_ index: Int) throws {
    let count = producers[index].batches.count
    for batch in producers[index].unacknowledged {
      guard producers[index].batches.count == count else { return }
      if try !send(index, batch) { return }
    }
  }

  /// A retry of a batch that the log has, acknowledged or not: same offset, never a second copy.
  func sendAgain() throws {
    let index = random.below(producers.count)
    let candidates = producers[index].batches.indices.filter { producers[index].batches[$0].base != nil }
    guard !candidates.isEmpty else { return }
    // The newest W are remembered for certain.
    let newest = candidates.suffix(ProducerTable.window)
    try send(index, newest[newest.startIndex + random.below(newest.count)])
  }

  /// False when it was refused for now.
  @discardableResult
  func send(_ index: Int, _ batch: Int) throws -> Bool {
    let partition = producers[index].partition
    let log = try log(partition)
    let (bytes, header) = try producers[index].bytes(batch, timestamp: time.wallMilliseconds)
    do throws(Fault) {
      statistics.appends += 1
      switch try log.append(bytes, header: header) {
      case .appended(let base, let last, let entry):
        directory?.submit([entry])
        if let known = producers[index].batches[batch].base, producers[index].batches[batch].isAcknowledged {
          return try unexpected("batch at \(known) was appended a second time at \(base)")
        }
        expectAcknowledgement(index, batch, base.rawValue, last.rawValue + 1)
      case .duplicate(let base, let last, let isCommitted):
        statistics.duplicates += 1
        if producers[index].batches[batch].isAcknowledged, let known = producers[index].batches[batch].base,
          known != base.rawValue
        {
          return try unexpected("a retry got offset \(base), the original \(known)")
        }
        expectAcknowledgement(index, batch, base.rawValue, last.rawValue + 1)
        if isCommitted { settleAcknowledgements() }
      case .duplicateOutsideWindow:
        return try unexpected("a remembered batch is said to be older than the window")
      }
      settleAcknowledgements()
      if let pendingFailure { throw pendingFailure }
      return true
    } catch {
      return try refused(error, index, batch)
    }
  }

  private func expectAcknowledgement(_ index: Int, _ batch: Int, _ base: Int64, _ end: Int64) {
    producers[index].batches[batch].base = base
    guard !producers[index].batches[batch].isAcknowledged else { return }
    waiting.append(
      Waiting(
        producer: index, sequence: producers[index].batches[batch].sequence,
        epoch: producers[index].epoch, base: base, end: end))
  }

  private func unexpected(_ what: String) throws(Fault) -> Bool {
    throw Fault(.internalError, what)
  }

  private func refused(_ fault: Fault, _ index: Int, _ batch: Int) throws -> Bool {
    statistics.refusals += 1
    let partition = producers[index].partition
    switch fault.reason {
    case .overloaded, .diskFull, .tooManyInFlight: return false
    case .logOffline: return false
    // A cold read that met a dead disk has condemned the partition for the rest of this process.
    case .dataCorrupt where shadows[partition].isExcused || disk.isOff: return false
    case .outOfOrderSequence, .unknownProducer:
      // Only a topic that lost its unsynced end, or whose loss was accepted, may have forgotten.
      guard !shadows[partition].isDurable || shadows[partition].isExcused else { break }
      producers[index].restart()
      waiting.removeAll { $0.producer == index }
      return false
    default: break
    }
    throw ShadowError("producer \(producers[index].id): \(fault)")
  }

  /// Acknowledges what the high watermarks have passed.
  func settleAcknowledgements() {
    waiting.removeAll { entry in
      let partition = producers[entry.producer].partition
      guard let log = try? log(partition), log.highWatermark.rawValue >= entry.end else { return false }
      acknowledge(entry, partition)
      return true
    }
    deletions.removeAll { deletion in
      guard let log = try? log(deletion.partition), log.logStart.rawValue >= deletion.start else {
        return false
      }
      shadows[deletion.partition].confirmStart(deletion.start)
      return true
    }
  }

  private func acknowledge(_ entry: Waiting, _ partition: Int) {
    guard producers[entry.producer].epoch == entry.epoch,
      let batch = producers[entry.producer].batches.firstIndex(where: { $0.sequence == entry.sequence })
    else { return }
    statistics.acknowledgements += 1
    producers[entry.producer].batches[batch].isAcknowledged = true
    do {
      try shadows[partition].acknowledge(producers[entry.producer].batches[batch].values, at: entry.base)
    } catch { pendingFailure = Fault(.internalError, "\(error)") }
  }

  // MARK: The broker's threads

  func flush() throws {
    guard let directory else { return }
    let advances = try directory.flushStep()
    if !advances.isEmpty { damageSettlesAfter -= 1 }
    for advance in advances { advance.log.apply(advance) }
    settleAcknowledgements()
    if let pendingFailure { throw ShadowError("\(pendingFailure)") }
  }

  func writeBehind() throws {
    for _ in 0..<1 + random.below(6) {
      guard try directory?.writeBehindStep() == true else { return }
    }
  }

  func maintain() throws {
    if random.chance(30) { time.advance(milliseconds: Int64(random.below(60_000))) }
    _ = try directory?.maintenanceStep()
    // A full disk is emptied sooner or later.
    if random.chance(60) { disk.setCapacity(1 << 40) }
  }

  func deleteRecords() throws {
    let partition = random.below(settings.count)
    let log = try log(partition)
    let span = log.logStart.distance(to: log.highWatermark)
    let start = log.logStart.advanced(by: Int64(random.below(Int(span) + 1)))
    do throws(Fault) {
      let entry = try log.deleteRecords(before: start)
      statistics.deletes += 1
      trace("delete records of \(partition) before \(start)")
      shadows[partition].requestStart(start.rawValue)
      deletions.append((partition, start.rawValue))
      directory?.submit([entry])
    } catch {
      guard [.overloaded, .logOffline, .dataCorrupt].contains(error.reason) else { throw error }
    }
  }

  func close() throws {
    guard let directory else { return }
    for advance in try directory.close() { advance.log.apply(advance) }
    settleAcknowledgements()
    disk.kill()
    try reopen()
  }
}
