import CommitLog
import RecordFormat
import SkeinCore

/// What the scheduler can choose.
extension CompactionSimulation {
  // MARK: Producing

  func produce() throws {
    // Some producers are seldom heard of: their newest batch gets old.
    let index = random.chance(75) ? random.below(2) : random.below(producers.count)
    if producers[index].batches.contains(where: { $0.base == nil }) || unacknowledged(index).count > 20 {
      return try resend(index)
    }
    let epoch = try log(producers[index].partition).leaderEpoch.rawValue
    let records = (0..<1 + random.below(5)).map { _ -> CompactionShadow.Record in
      values += 1
      let key = "key-\(random.below(keys))"
      let value = "\(values)." + String(repeating: "abcdefghij", count: random.below(12))
      return CompactionShadow.Record(
        key: key, value: random.chance(20) ? nil : value, timestamp: time.wallMilliseconds,
        headers: random.chance(20) ? ["h\(values)"] : [], leaderEpoch: epoch)
    }
    producers[index].batches.append(Batch(sequence: producers[index].sequence, records: records))
    producers[index].sequence += Int32(records.count)
    if producers[index].batches.count > 30, producers[index].batches[0].isAcknowledged {
      producers[index].batches.removeFirst()
    }
    try send(index, producers[index].batches.count - 1)
  }

  private func unacknowledged(_ index: Int) -> [Int] {
    producers[index].batches.indices.filter { !producers[index].batches[$0].isAcknowledged }
  }

  func resend(_ index: Int) throws {
    let epoch = producers[index].epoch
    for batch in unacknowledged(index) {
      guard producers[index].epoch == epoch, try send(index, batch) else { return }
    }
  }

  /// The newest batch of a producer is remembered, whatever compaction has done to it (P8).
  func sendNewestAgain(_ index: Int) throws {
    let log = try log(producers[index].partition)
    guard let newest = producers[index].batches.indices.last,
      let base = producers[index].batches[newest].base, base >= log.logStart.rawValue,
      producers[index].batches[newest].isAcknowledged
    else { return }
    statistics.retries += 1
    try send(index, newest)
  }

  /// False when it was refused for now.
  @discardableResult
  private func send(_ index: Int, _ number: Int) throws -> Bool {
    let producer = producers[index]
    let batch = producer.batches[number]
    let log = try log(producer.partition)
    let (bytes, header) = try bytes(of: batch, producer)
    let outcome: AppendOutcome
    do throws(Fault) { outcome = try log.append(bytes, header: header) } catch {
      return try refused(error, index, number)
    }
    switch outcome {
    case .appended(let base, _, let entry):
      if batch.isAcknowledged {
        throw ShadowError("the batch at \(batch.base ?? -1) was appended again at \(base)")
      }
      statistics.appends += 1
      directory?.submit([entry])
      producers[index].batches[number].base = base.rawValue
      for (place, record) in batch.records.enumerated() {
        var record = record
        record.leaderEpoch = log.leaderEpoch.rawValue
        shadows[producer.partition].append(
          record, at: base.rawValue + Int64(place), now: time.wallMilliseconds)
      }
    case .duplicate(let base, _, _):
      if batch.isAcknowledged, batch.base != base.rawValue {
        throw ShadowError("a retry got offset \(base), the original \(batch.base ?? -1)")
      }
      producers[index].batches[number].base = base.rawValue
    case .duplicateOutsideWindow:
      throw ShadowError("a remembered batch is said to be older than the window")
    }
    settleAcknowledgements()
    return true
  }

  private func refused(_ fault: Fault, _ index: Int, _ number: Int) throws -> Bool {
    switch fault.reason {
    case .overloaded, .diskFull, .tooManyInFlight, .logOffline: return false
    // A read that met a dead disk has condemned the partition for the rest of this process.
    case .dataCorrupt where disk.isOff: return false
    case .outOfOrderSequence, .unknownProducer:
      // Without any checkpoint only the newest batch of each producer is known, if its segment is there.
      let isNewest = number == producers[index].batches.count - 1
      let start = try log(producers[index].partition).logStart.rawValue
      let isThere = producers[index].batches[number].base.map { $0 >= start } ?? false
      guard lostProducers, !(isNewest && isThere && producers[index].batches[number].isAcknowledged) else {
        break
      }
      producers[index].epoch += 1
      producers[index].sequence = 0
      producers[index].batches = []
      return false
    default: break
    }
    throw ShadowError("producer \(producers[index].id), batch \(number): \(fault)")
  }

  private func bytes(of batch: Batch, _ producer: Producer) throws -> (SharedBytes, BatchHeader) {
    let codecs: [Codec] = [.none, .zstd, .gzip, .lz4]
    var builder = BatchBuilder(codec: codecs[Int(producer.id) % codecs.count], capacity: 512)
    for record in batch.records {
      var headers = RecordHeaders()
      for name in record.headers { try headers.append(name: name, value: Array(name.utf8)) }
      let key = Array(record.key.utf8)
      let value = record.value.map { Array($0.utf8) }
      try headers.withSequence { sequence in
        try key.withUnsafeBytes { key in
          guard let value else {
            return try builder.append(key: key, value: nil, headers: sequence, timestamp: record.timestamp)
          }
          try value.withUnsafeBytes {
            try builder.append(key: key, value: $0, headers: sequence, timestamp: record.timestamp)
          }
        }
      }
    }
    let bytes = try builder.finish(
      producerID: producer.id, producerEpoch: producer.epoch, baseSequence: batch.sequence)
    let header = try bytes.withUnsafeBytes { bytes in
      let header = try BatchCheck.produce(bytes)
      try BatchCheck.keys(bytes)
      return header
    }
    return (bytes, header)
  }

  private func settleAcknowledgements() {
    for index in producers.indices {
      guard let log = try? log(producers[index].partition) else { continue }
      shadows[producers[index].partition].acknowledge(below: log.highWatermark.rawValue)
      for number in producers[index].batches.indices {
        let batch = producers[index].batches[number]
        guard let base = batch.base, base + Int64(batch.records.count) <= log.highWatermark.rawValue else {
          continue
        }
        producers[index].batches[number].isAcknowledged = true
      }
    }
  }

  // MARK: The broker's threads

  func flush() throws {
    guard let directory else { return }
    for advance in try directory.flushStep() { advance.log.apply(advance) }
    settleAcknowledgements()
  }

  func writeBehind(_ count: Int) throws {
    for _ in 0..<count {
      guard try directory?.writeBehindStep() == true else { return }
    }
  }

  /// Some steps of the cleaner; true when it is idle.
  @discardableResult
  func clean(_ count: Int) throws -> Bool {
    guard let directory else { return true }
    let now = time.wallMilliseconds
    defer { countCleaning() }
    for _ in 0..<count {
      let step = try directory.cleanStep(maxBytes: 1 + random.below(3000))
      if let why = step.abandoned?.why { trace("abandoned: \(why)") }
      if let damage = step.damage, !disk.isOff {
        throw ShadowError("the cleaner found damage: \(damage.why)")
      }
      if step.progress == .idle {
        if let started = roundStarted { longestRound = max(longestRound, now - started) }
        roundStarted = nil
        return true
      }
      roundStarted = roundStarted ?? now
      longestRound = max(longestRound, now - (roundStarted ?? now))
      if step.progress == .waiting { return false }
    }
    return false
  }

  private func countCleaning() {
    guard let found = directory?.cleanerStatistics else { return }
    statistics.rounds += found.rounds - counted.rounds
    statistics.abandoned += found.abandoned - counted.abandoned
    statistics.dropped += found.recordsDropped - counted.recordsDropped
    statistics.tombstonesDropped += found.tombstonesDropped - counted.tombstonesDropped
    counted = found
  }

  func maintain() throws {
    if random.chance(50) { time.advance(milliseconds: Int64(random.below(150_000))) }
    _ = try directory?.maintenanceStep()
    if random.chance(60) { disk.setCapacity(1 << 40) }
  }

  func deleteRecords() throws {
    let log = try log(random.below(settings.count))
    let span = log.logStart.distance(to: log.highWatermark)
    do throws(Fault) {
      let start = log.logStart.advanced(by: Int64(random.below(Int(span) / 3 + 1)))
      directory?.submit([try log.deleteRecords(before: start)])
    } catch {
      guard [.overloaded, .logOffline].contains(error.reason) || disk.isOff else { throw error }
    }
  }

  func close() throws {
    guard let directory else { return }
    for advance in try directory.close() { advance.log.apply(advance) }
    settleAcknowledgements()
    disk.kill()
    try reopen()
  }

  /// Everything acknowledged, written and sealed.
  func drain() throws {
    for _ in 0..<200 {
      try flush()
      try writeBehind(50)
      guard producers.indices.contains(where: { !unacknowledged($0).isEmpty }) else { break }
    }
    directory?.requestRound(recycle: true)
    try writeBehind(1000)
    _ = try directory?.maintenanceStep()
    try flush()
    directory?.requestRound(recycle: true)
    try writeBehind(1000)
  }

  /// Cleans until nothing is due.
  func cleanUp() throws {
    for _ in 0..<20_000 {
      if try clean(10) { return }
      try writeBehind(20)
    }
    throw ShadowError("the cleaner does not come to an end")
  }
}
