import RecordFormat
import SkeinCore

/// When open batches are closed and handed to the machine.
extension ProducerBuffer {
  /// Closes the lane's open batch and queues it in the machine, with the next sequences (P3).
  mutating func seal(_ lane: Int, machine: inout ProducerMachine) {
    guard let batch = open[lane] else { return }
    open[lane] = nil
    let topic = batch.topic
    if !topics[topic].partitioner.turnsPerRecord, topics[topic].lanes[topics[topic].current] == lane {
      advance(topic)
    }
    let count = Int32(batch.builder.count)
    let sequence = machine.reserveSequence(lane: lane, count: count)
    let payload: SharedBytes
    do {
      let plain = try batch.builder.finish(
        producerID: producerID, producerEpoch: producerEpoch, baseSequence: sequence)
      payload =
        batch.codec == .none
        ? plain
        : try compressor(batch.codec).compress(
          plain, producerID: producerID, producerEpoch: producerEpoch, baseSequence: sequence)
    } catch {
      machine.returnSequence(lane: lane, sequence)
      spoiled.append((lane, batch, SkeinError(error.fault)))
      return
    }
    // The queues of linger may hold the batch a while longer; its buffer they must not.
    batch.builder = BatchBuilder(capacity: 0)
    sizeHints[lane] = min(batchBytes, max(1024, batch.charged)) + BatchHeader.size
    lastNumber += 1
    machine.enqueue(
      OutboundBatch(
        payload: payload, baseSequence: sequence, recordCount: count, chargedBytes: batch.charged,
        deadline: batch.openedAt + deadlineNanoseconds,
        generation: topics[topic].generation, number: lastNumber, ticket: batch.takeTicket()),
      lane: lane)
  }

  private mutating func compressor(_ codec: Codec) -> BatchCompressor {
    if let known = compressors[codec] { return known }
    let compressor = BatchCompressor(codec: codec, capacity: configuration.batchBytes)
    compressors[codec] = compressor
    return compressor
  }

  /// Marks what has lingered long enough as ripe. Returns when the next one will have, in monotonic
  /// nanoseconds, or nil if nothing lingers.
  mutating func ripen(now: Int64) -> Int64? {
    while let first = lingering.first {
      let due = first.batch.openedAt + lingerNanoseconds
      let isAway = first.batch.isAway
      let isStillOpen = (isAway || open[first.lane] === first.batch) && !first.batch.isRipe
      guard due <= now || !isStillOpen else { return due }
      _ = lingering.popFirst()
      if isAway {
        first.batch.isRipe = true
      } else if isStillOpen {
        markRipe(first.lane, first.batch)
      }
    }
    return nil
  }

  private mutating func markRipe(_ lane: Int, _ batch: OpenBatch) {
    batch.isRipe = true
    ripe.append(lane)
  }

  /// Seals one ripe batch whose lane takes it; the others on the way are parked, filling, until their
  /// lane moves. Returns whether the machine has something new to send.
  mutating func sealRipe(machine: inout ProducerMachine) -> Bool {
    while let lane = ripe.popFirst() {
      guard let batch = open[lane], batch.isRipe, !batch.isParked else { continue }
      if machine.takesPartialBatch(lane: lane) {
        seal(lane, machine: &machine)
        return true
      }
      batch.isParked = true
    }
    return false
  }

  /// An answer came for the lane, or its pause is over: a parked batch may leave.
  mutating func laneMoved(_ lane: Int) {
    guard let batch = open[lane], batch.isParked else { return }
    batch.isParked = false
    ripe.append(lane)
  }

  /// The same for all lanes: a stream was opened, or time has passed.
  mutating func allLanesMoved() {
    for lane in open.indices { laneMoved(lane) }
  }

  /// Seals every open batch, also behind a full window.
  mutating func sealAll(machine: inout ProducerMachine) {
    for lane in open.indices where open[lane] != nil { seal(lane, machine: &machine) }
    // Batches that are away are sealed when they come back.
    for (_, batch) in lingering.drain() where batch.isAway { batch.isRipe = true }
    _ = ripe.drain()
  }

  /// Without a stream: seals what has reached its delivery deadline, so that the machine fails it.
  mutating func sealOverdue(now: Int64, machine: inout ProducerMachine) {
    for lane in open.indices {
      guard let batch = open[lane], batch.openedAt + deadlineNanoseconds <= now else { continue }
      seal(lane, machine: &machine)
    }
  }

  var hasOpenBatches: Bool { open.contains { $0 != nil } }

  /// A batch is over: its bytes are free again.
  mutating func release(_ bytes: Int) { used -= bytes }

  /// The producer failed: every open batch's ticket, with its lane.
  mutating func abandon() -> [(lane: Int, batch: OpenBatch)] {
    var abandoned: [(Int, OpenBatch)] = []
    for lane in open.indices {
      guard let batch = open[lane] else { continue }
      abandoned.append((lane, batch))
      used -= batch.charged
      open[lane] = nil
    }
    _ = lingering.drain()
    _ = ripe.drain()
    return abandoned
  }
}
