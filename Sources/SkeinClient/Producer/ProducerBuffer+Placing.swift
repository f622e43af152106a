import RecordFormat
import SkeinCore

/// Answered records on their way into batches. A large plain chunk is placed by a `ChunkPlacing`, outside of the
/// producer's lock. Meanwhile its topic's batches are away: nothing seals them, a flush waits for the chunk as for one
/// that is still staged, and a change of the partitioner waits for its end.
extension ProducerBuffer {
  /// A topic whose answers the loop is to apply now.
  func topicToPlace(now: Int64) -> Int? {
    topics.indices.first { topic in
      guard !topics[topic].isChanging, let staging = topics[topic].staging, staging.placing == nil,
        case .answered? = staging.chunks.first?.state
      else { return false }
      return staging.handedOver ?? 0 <= now
    }
  }

  /// Everything whose answer is there, and all before it, goes into its batches: small chunks and special ones here,
  /// up to the first large plain one, which is returned, to be placed outside of the lock.
  /// - Parameter flushed: somebody waits for all chunks up to this number: what is of them is sealed before later
  ///   records can take its batches away, or the wait would not see them.
  mutating func beginPlacing(
    _ topic: Int, flushed: UInt64 = .max, clock: SystemClock, machine: inout ProducerMachine
  ) -> ChunkPlacing? {
    guard let staging = topics[topic].staging, staging.placing == nil, !topics[topic].isChanging else {
      return nil
    }
    staging.handedOver = nil
    while let (chunk, partitions) = staging.takeAnswered() {
      guard isPlacedOutside(chunk, topic: topic) else {
        place(chunk, partitions, topic: topic, clock: clock, machine: &machine)
        continue
      }
      let lanes = topics[topic].lanes
      if flushed < chunk.number { for lane in lanes { seal(lane, machine: &machine) } }
      let placing = ChunkPlacing(
        topic: topic, chunk: chunk, partitions: partitions, codec: topics[topic].codec,
        metrics: topics[topic].metrics, limits: limits, batchBytes: batchBytes, open: lanes.map { open[$0] },
        hints: lanes.map { sizeHints[$0] })
      for lane in lanes {
        open[lane]?.isAway = true
        open[lane] = nil
      }
      staging.placing = placing
      return placing
    }
    return nil
  }

  /// Sorting by partition pays for many records, and must not have to look for one that fits nowhere.
  private func isPlacedOutside(_ chunk: StagedChunk, topic: Int) -> Bool {
    chunk.isPlain && chunk.isPlacedWhole && chunk.count >= 32 && chunk.count * 2 >= topics[topic].lanes.count
      && chunk.largest <= limits.maxRecordBytes
      && chunk.largest + Self.recordOverhead * 2 <= limits.maxBatchBytes - BatchHeader.size
  }

  /// What was placed outside of the lock: full batches are sealed, the others take records again.
  mutating func endPlacing(_ placing: ChunkPlacing, clock: SystemClock, machine: inout ProducerMachine) {
    let topic = placing.topic
    used += placing.added - placing.chunk.charged
    let lanes = topics[topic].lanes
    for (partition, batch) in placing.full {
      let lane = lanes[partition]
      batch.isAway = false
      if var failure = machine.failure {
        failure.outcome = .definite
        spoiled.append((lane, batch, failure))
      } else {
        open[lane] = batch
        seal(lane, machine: &machine)
      }
    }
    for (partition, batch) in placing.open.enumerated() {
      guard let batch else { continue }
      let lane = lanes[partition]
      open[lane] = batch
      if !batch.isAway {
        lingering.append((lane, batch))
      } else if batch.isRipe {
        batch.isParked = false
        ripe.append(lane)
      }
      batch.isAway = false
    }
    for _ in 0..<placing.refused {
      let why = "\(topics[topic].name): a record fits no batch; this is a defect of the SDK"
      spoil(nil, nil, topic: topic, SkeinError(.internalError, why, outcome: .definite), clock)
    }
    topics[topic].staging?.placing = nil
    topics[topic].staging?.keep(placing.chunk)
  }

  /// - Parameter partitions: one per record that was asked about; nil: the topic has a built-in partitioner now.
  mutating func place(
    _ chunk: StagedChunk, _ partitions: [Int32]?, topic: Int, clock: SystemClock,
    machine: inout ProducerMachine
  ) {
    used -= chunk.charged
    var next = 0
    var failures: [(waiter: RecordWaiter?, tag: UInt64, error: SkeinError)] = []
    let (lanes, codec) = (topics[topic].lanes, topics[topic].codec)
    chunk.forEach { record, waiter in
      var record = record
      if let partitions, record.partition == nil {
        record.assigned = partitions[next]
        next += 1
        // Almost always the batch is open and has room.
        if record.assigned >= 0, add(record, to: lanes[Int(record.assigned)], waiter, codec) { return }
      }
      do throws(SkeinError) {
        _ = try put(
          record, topic: topic, waiter: waiter, clock: clock, takenAt: chunk.openedAt, machine: &machine)
      } catch {
        failures.append((waiter, record.tag, error))
      }
    }
    topics[topic].staging?.keep(chunk)
    for (waiter, tag, error) in failures { spoil(waiter, tag, topic: topic, error, clock) }
  }

  /// Adds a record to the lane's open batch if that neither opens nor closes one.
  @inline(__always)
  private mutating func add(_ record: RecordInput, to lane: Int, _ waiter: RecordWaiter?, _ codec: Codec)
    -> Bool
  {
    let cost = record.sizeInBytes + Self.recordOverhead
    guard let batch = open[lane], batch.charged + cost < batchBytes, batch.codec == record.codec ?? codec,
      (try? batch.builder.append(
        key: record.key, value: record.value, headers: record.headers, timestamp: record.timestamp)) != nil
    else { return false }
    batch.book(record, cost: cost, waiter: waiter, keepsTag: keepsTags)
    used += cost
    return true
  }
}
