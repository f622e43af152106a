import CommitLog
import GroupCoordination
import RecordFormat
import SkeinCore
import Transport
import Wire

/// From the pump to the member: batches, or records for thin clients; and what the member says about where they are
/// to come from.
extension SubscribeHandler {
  var takesRecords: Bool {
    guard case .member = phase else { return false }
    return !isSuspect && call.isWritable
  }

  /// While the group's store does not answer, a member gets so many records beyond what was committed and no more; and
  /// nobody gets more than its acknowledgements can be kept for.
  func limit(of cursor: PartitionCursor) -> Offset {
    guard let partition = partitions[cursor.key], let membership else { return .zero }
    if partition.acks?.isFull == true {
      bounded.insert(cursor.key)
      return .zero
    }
    let fence = fenceLimit(of: partition)
    guard !context.groupOffsets.isAvailable(membership.key) else { return fence }
    let from = partition.committed ?? partition.began
    let limit = min(fence, from.advanced(by: context.maximumUncommitted))
    if cursor.offset >= limit { bounded.insert(cursor.key) }
    return limit
  }

  /// Lets those go on that were held back by a bound, if they may.
  func releaseBounded() {
    guard !bounded.isEmpty else { return }
    let keys = bounded
    bounded = []
    for key in keys {
      if let partition = partitions[key], !partition.isHeld { pump?.release(partition.cursor) }
    }
    pump?.pump()
  }

  // MARK: Sending

  func deliver(_ run: PumpedBatches) {
    guard let partition = partitions[run.cursor.key] else { return }
    findHoles(run, partition)
    var read = ReadBatches(run)
    read.seek = partition.seek
    read.fromOffset = run.from > run.base ? run.from.rawValue : 0
    if membership?.decoded == true {
      sendDecoded(run, read, partition)
    } else {
      send(SubscribeResponse(read: read, batches: Payload(run.batches)), run.charge)
    }
  }

  /// Offsets without a record need no acknowledgement: control batches, gaps between batches, and within those that
  /// compaction has thinned out.
  private func findHoles(_ run: PumpedBatches, _ partition: MemberPartition) {
    guard !run.isDense, partition.acks != nil else { return }
    var next = run.from.rawValue
    for batch in run.batches {
      guard let header = batch.withUnsafeBytes({ try? BatchHeader(parsing: $0) }) else { continue }
      if header.baseOffset > next { partition.acks?.hole(next..<header.baseOffset) }
      let end = max(next, header.nextOffset)
      if header.isControl {
        if next < end { partition.acks?.hole(next..<end) }
      } else if Int64(header.recordCount) <= Int64(header.lastOffsetDelta) {
        findHoles(within: batch, from: max(next, header.baseOffset), to: end, partition)
      }
      next = end
    }
    if run.next.rawValue > next { partition.acks?.hole(next..<run.next.rawValue) }
    if let acks = partition.acks, acks.isUsed, partition.ackToCommit != nil { dirty.insert(partition.key) }
  }

  private func findHoles(
    within batch: SharedBytes, from: Int64, to end: Int64, _ partition: MemberPartition
  ) {
    var next = from
    var reader = BatchReader(limits: BatchLimits())
    do {
      try batch.withUnsafeBytes { bytes in
        _ = try reader.forEach(bytes) { record in
          if record.offset > next { partition.acks?.hole(next..<record.offset) }
          next = max(next, record.offset + 1)
        }
      }
    } catch {
      return  // what cannot be read is not said to be empty
    }
    if next < end { partition.acks?.hole(next..<end) }
  }

  /// One run may become several messages: what is small as it is stored may be large when it is decoded.
  private func sendDecoded(_ run: PumpedBatches, _ read: ReadBatches, _ partition: MemberPartition) {
    let limit = PartitionPump.defaultMessageBytes
    var reader = BatchReader(limits: BatchLimits())
    var read = read
    var records: [StoredRecord] = []
    var bytes = 0
    func flush(next: Int64) {
      read.nextOffset = next
      let charge = context.readBudget.reserve(bytes) ?? run.charge
      send(SubscribeResponse(read: read, records: DecodedRecords(records: records)), charge)
      read.baseOffset = next
      read.fromOffset = 0
      (records, bytes) = ([], 0)
    }
    do throws(Fault) {
      for batch in run.batches {
        try reader.decode(batch, from: run.from, next: run.next) { record in
          if bytes > 0, bytes + record.roughSize > limit { flush(next: record.offset) }
          bytes += record.roughSize
          records.append(record)
        }
      }
      flush(next: run.next.rawValue)
    } catch {
      let next = Int64(error.metadata["next_offset"] ?? "") ?? run.next.rawValue
      flush(next: records.last.map { $0.offset + 1 } ?? read.baseOffset)
      pump?.end(partition.cursor)
      failed(
        partition.cursor, error.about(topic: partition.topicName, partition: partition.key.partition).at(next)
      )
    }
  }

  func failed(_ cursor: PartitionCursor, _ fault: Fault) {
    guard let partition = partitions[cursor.key], partition.cursor === cursor else { return }
    if fault.reason == .draining { return }
    partition.phase = .failed
    report(fault, of: partition)
  }

  // MARK: From the member

  /// Also what sets a partition going again after an error.
  func seek(_ seek: MemberSeek) throws(Fault) {
    guard seek.offset >= 0, seek.offset < Offset.limit.rawValue, seek.number > 0 else {
      throw Fault(
        .invalidRequest, "seek number \(seek.number) to offset \(seek.offset) is not one",
        violations: [.init(field: "seek", description: "number from 1 on, offset 0 to 2^62 - 1")])
    }
    guard let partition = partition(seek.topic, seek.partition), !partition.isRevoking else {
      return report(notAssigned(seek.topic, seek.partition), topic: seek.topic, partition: seek.partition)
    }
    guard seek.number > partition.seek else { return }  // an older one, or a repeat
    flushAcks()
    partition.seek = seek.number
    seeks[partition.key] = seek.number
    if seeks.count > 2 * context.groups.limits.partitions {
      seeks = seeks.filter { partitions[$0.key] != nil }
    }
    if partition.acks == nil {
      partition.acks = AckTracker(processed: seek.offset)
    } else {
      partition.acks?.restart(at: seek.offset)
    }
    bounded.remove(partition.key)
    run(partition, from: Offset(seek.offset))
  }

  func pause(_ pause: MemberPause) throws(Fault) {
    for key in try keys(pause.pause, field: "pause.pause") {
      guard let partition = partitions[key] else { continue }
      partition.isPaused = true
      pump?.hold(partition.cursor)
      bounded.remove(key)
    }
    for key in try keys(pause.resume, field: "pause.resume") {
      guard let partition = partitions[key], partition.isPaused else { continue }
      partition.isPaused = false
      if !partition.isHeld { pump?.release(partition.cursor) }
    }
  }

  /// Where the member stopped. Its next credit grants what it dropped; here it is only checked.
  func reclaim(_ reclaimed: MemberReclaimed) throws(Fault) {
    let limit = context.groups.limits.partitions
    guard reclaimed.positions.count <= limit else {
      throw Fault(
        .invalidRequest, "`reclaimed` names \(reclaimed.positions.count) partitions",
        violations: [.init(field: "reclaimed.positions", description: "at most \(limit)")])
    }
    for position in reclaimed.positions {
      guard let partition = partition(position.topic, position.partition), let end = partition.sentEnd else {
        continue
      }
      guard (0...end.rawValue).contains(position.offset) else {
        throw Fault(
          .invalidRequest,
          "the member cannot have stopped at \(position.offset) in topic \"\(position.topic.displayable)\" partition \(position.partition): records up to \(end) were sent",
          violations: [.init(field: "reclaimed.positions", description: "0 to \(end)")])
      }
    }
  }
}

extension Fault {
  /// The same, saying where to go on.
  fileprivate func at(_ next: Int64) -> Fault {
    var fault = self
    fault.metadata["next_offset"] = "\(next)"
    return fault
  }
}
