import CommitLog
import GroupCoordination
import Logging
import NIOCore
import RecordFormat
import SkeinCore

/// Reading the partition into a new coordinator: through the same path as every reader, a piece at a time, so that a
/// large log costs neither memory nor the other work of the loop.
extension CoordinatorHost {
  /// Bytes of one piece.
  static let pieceBytes = 256 << 10

  /// On the loop. Everything that was appended by earlier coordinators of this broker is awaited first (G19).
  func load() {
    if case .closed = phase { return }
    phase = .loading
    loadBegan = seams.time.monotonicNanoseconds
    guard let log = shard.log(key) else { return fail(PartitionShard.gone(key)) }
    coordinator = GroupCoordinator(configuration: seams.configuration, leaderEpoch: log.leaderEpoch)
    read(from: log.logStart, to: log.logEnd, incarnation)
  }

  /// The log could not be read: perhaps it can now, because somebody accepted a loss.
  func retry() {
    if case .failed = phase { load() }
  }

  private func read(from: Offset, to end: Offset, _ incarnation: Int) {
    guard incarnation == self.incarnation, case .loading = phase else { return }
    guard from < end else { return begin() }
    shard.read(key, from: from, maxBytes: Self.pieceBytes, lastEpoch: nil, replyLoop: loop) { [self] result in
      guard incarnation == self.incarnation, case .loading = phase else { return }
      switch result {
      case .failure(let fault): fail(fault)
      case .success(let piece) where piece.next <= from:
        // Appended, and not durable yet.
        shard.wait(
          key, past: from,
          ReadWaiter(loop: loop) { [self] in read(from: from, to: end, incarnation) })
      case .success(let piece):
        do throws(Fault) {
          for batch in piece.batches { try replay(batch, from: from) }
        } catch {
          return fail(error)
        }
        read(from: piece.next, to: end, incarnation)
      }
    }
  }

  private func replay(_ batch: SharedBytes, from: Offset) throws(Fault) {
    var reader = BatchReader()
    var offset = from.rawValue
    do {
      _ = try batch.withUnsafeBytes { bytes in
        try reader.forEach(bytes) { record in
          offset = record.offset
          guard record.offset >= from.rawValue else { return }
          guard let key = record.key else { throw GroupRecordError.invalid("no key") }
          coordinator.replay(try GroupRecord(key: Array(key), value: record.value.map { Array($0) }))
          counts.replayed.add(1)
        }
      }
    } catch {
      throw unreadable(at: offset, error)
    }
  }

  /// To skip a record could give one partition to two members: so the groups of this partition stand still.
  private func unreadable(at offset: Int64, _ error: any Error) -> Fault {
    let cure =
      switch error as? GroupRecordError {
      case .unknownType, .unknownVersion: "start the version of Skein that wrote it"
      default: "restore the partition from a copy; the broker's log names it"
      }
    return Fault(
      .dataCorrupt,
      "partition \(key.partition) of __groups cannot be read at offset \(offset): \(error); its groups cannot be coordinated; \(cure)",
      metadata: ["topic": GroupDirectory.topicName, "partition": "\(key.partition)", "offset": "\(offset)"])
  }

  private func begin() {
    phase = .active
    let took = seams.time.monotonicNanoseconds - loadBegan
    counts.loadMicroseconds.store(Int(took / 1_000))
    perform(coordinator.start(at: now))
    let known = seams.existingTopics()
    let gone = Set(
      coordinator.table.groups.values.flatMap { $0.offsets.keys.map(\.topic) }.filter { !known.contains($0) })
    for topic in gone.sorted() { enqueue(.topicDeleted(topic)) }
    firstLoad.succeed()
  }

  private func fail(_ fault: Fault) {
    phase = .failed(fault)
    seams.logger.error(
      "the groups of a partition cannot be coordinated",
      metadata: ["partition": "\(key.partition)", "error": "\(fault)"])
    dropCoordinator(fault)
    firstLoad.succeed()
  }
}
