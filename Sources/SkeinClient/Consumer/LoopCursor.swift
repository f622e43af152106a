import RecordFormat
import SkeinCore

/// A loop's place in what it takes: one chunk at a time, a batch of it, a record of that. What it asks for next tells
/// that what it had is processed. Used by one task at a time; when it is dropped, what is not processed goes back.
///
/// `@unchecked Sendable`: an iterator owns it, and iterators are used by one task at a time; `deinit` comes after.
final class LoopCursor: @unchecked Sendable {
  private let consumer: Consumer
  private let core: ConsumerCore
  private let isLoop: Bool
  /// Nothing is processed before the application says so; what it has in hand is its own.
  private let acknowledges: Bool
  private var hold: (lease: ConsumerLease, chunk: ReceivedChunk)?
  /// How far the chunk is taken apart, in bytes.
  private var offsetInChunk = 0
  /// After what is in the application's hand, which is processed when it asks for more.
  private var inHand: ReadPosition?
  /// Below it everything of the chunk is told to be processed.
  private var told: Int64 = 0
  private var records: [ConsumedRecord] = []
  private var nextRecord = 0
  private var batchEnd = ReadPosition(offset: 0)

  /// - Parameter isLoop: a loop of the application's, which may never come back; else a handler, which is waited for.
  init(_ consumer: Consumer, isLoop: Bool) {
    self.consumer = consumer
    self.isLoop = isLoop
    core = consumer.core
    acknowledges = isLoop && consumer.acknowledges
  }

  deinit {
    if let hold { core.apply { [told] in $0.abandon(hold.lease, hold.chunk, from: told, now: $1) } }
  }

  /// The next batch, CRC-checked; nil at the end.
  func batch() async throws(SkeinError) -> RecordBatch? {
    while true {
      if Task.isCancelled { confirm() }
      if let batch = try nextBatch() {
        guard proceed(to: ReadPosition(offset: batch.nextOffset, leaderEpoch: batch.leaderEpoch)) else {
          continue
        }
        return batch
      }
      guard try await refill() else { return nil }
    }
  }

  /// The next record, copied; nil at the end.
  /// - Parameter run: nil, too, once this is over.
  func record(unless run: HandlerRun? = nil) async throws -> ConsumedRecord? {
    while true {
      if run?.isOver == true || Task.isCancelled { confirm() }
      if let record = try nextInBatch() { return record }
      guard try await refill(run) else { return nil }
    }
  }

  private func nextInBatch() throws -> ConsumedRecord? {
    while true {
      if nextRecord < records.count {
        let record = records[nextRecord]
        nextRecord += 1
        guard proceed(to: ReadPosition(offset: record.offset + 1, leaderEpoch: batchEnd.leaderEpoch)) else {
          continue
        }
        return record
      }
      // Past what the batch holds behind its last record.
      if !records.isEmpty, inHand != nil { inHand = batchEnd }
      records = []
      guard let batch = try nextBatch() else { return nil }
      batchEnd = ReadPosition(offset: batch.nextOffset, leaderEpoch: batch.leaderEpoch)
      nextRecord = 0
      do { records = try batch.records() } catch { if skip(to: batchEnd) { throw error } }
    }
  }

  /// What was in hand is processed, the next is taken. False: the chunk is not ours any more, and dropped.
  private func proceed(to next: ReadPosition) -> Bool {
    guard let hold else { return false }
    let may = core.step(hold.lease, processed: inHand, taking: next)
    guard may else {
      drop(upTo: nil)
      return false
    }
    told = acknowledges ? next.offset : inHand?.offset ?? told
    inHand = acknowledges ? nil : next
    return true
  }

  /// The caller is about to be told of something that cannot be read; it is behind us then. False: the chunk is not
  /// ours any more.
  private func skip(to next: ReadPosition) -> Bool {
    guard let hold else { return false }
    let may = core.change { [inHand] in $0.skip(hold.lease, processed: inHand, to: next, now: $1) }
    if may { (told, inHand) = (next.offset, nil) } else { drop(upTo: nil) }
    return may
  }

  /// What was in hand is processed, and nothing more is taken of the chunk.
  private func confirm() {
    guard let (lease, chunk) = hold else { return }
    _ = core.step(lease, processed: inHand, taking: nil)
    let from = inHand?.offset ?? told
    hold = nil
    inHand = nil
    records = []
    core.apply { $0.abandon(lease, chunk, from: from, now: $1) }
  }

  private func drop(upTo end: ReadPosition?) {
    guard let hold else { return }
    self.hold = nil
    records = []
    nextRecord = 0
    inHand = nil
    core.apply { $0.finish(hold.lease, upTo: end, now: $1) }
  }

  /// The next batch of the chunk in hand that has something to see; nil: there is none, all of it is processed.
  private func nextBatch() throws(SkeinError) -> RecordBatch? {
    while let (_, chunk) = hold {
      guard let found = chunk.batch(at: offsetInChunk) else {
        drop(upTo: ReadPosition(offset: chunk.nextOffset, leaderEpoch: chunk.leaderEpoch))
        return nil
      }
      switch found {
      case .failure(let error):
        // Its length cannot be trusted: the rest of the chunk is lost to the application, said aloud.
        offsetInChunk = chunk.bytes.count
        if skip(to: ReadPosition(offset: chunk.nextOffset, leaderEpoch: chunk.leaderEpoch)) { throw error }
      case .success(let (range, header)):
        offsetInChunk = range.upperBound
        guard header.nextOffset > chunk.visible.lowerBound, !header.isControl else { continue }
        do throws(SkeinError) {
          return try chunk.checked(
            chunk.bytes.slice(range), header, consumer.scratch, consumer.metrics(chunk.topic))
        } catch {
          if skip(to: ReadPosition(offset: header.nextOffset, leaderEpoch: header.leaderEpoch)) {
            throw error
          }
        }
      }
    }
    return nil
  }

  /// Waits for the next chunk; false at the end.
  private func refill(_ run: HandlerRun? = nil) async throws(SkeinError) -> Bool {
    while true {
      if run?.isOver == true { return false }
      if Task.isCancelled {
        if isLoop { await consumer.close() }
        return false
      }
      switch core.take(isLoop: isLoop) {
      case .chunk(let lease, let chunk):
        hold = (lease, chunk)
        offsetInChunk = 0
        told = chunk.visible.lowerBound
        return true
      case .failure(let error): throw error
      case .end: return false
      case .nothing: await core.wait()
      }
    }
  }
}
