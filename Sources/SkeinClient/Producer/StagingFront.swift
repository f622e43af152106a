import RecordFormat
import SkeinCore
import Synchronization

/// Where the records of a topic go whose partitioner only the broker has: the chunk that takes records, behind a lock
/// of its own. The application's thread needs nothing else for almost all of its records, and so does not wait while
/// the loop sends, asks and books.
///
/// Its room is charged to the producer's buffer when the chunk opens (`ProducerBuffer.stage`), and what is left of it
/// given back when it closes. Topics with a built-in partitioner have one, too, always closed: their partitioner may
/// change. Any thread; this lock is taken inside the producer's, never the other way round.
final class StagingFront: Sendable {
  struct Filling {
    var chunk: StagedChunk?
    /// Bytes of the producer's buffer that the chunk may still take.
    var room = 0
    var limits = BatchLimits()
    var keepsTags = false
    /// Older records are on their way into the chunk: nobody else may put one there.
    var isBarred = false
  }

  /// The chunk that takes records, as far as others need to know.
  struct Status {
    let number: UInt64
    let openedAt: Int64
    let count: Int
  }

  private let filling = Mutex(Filling())
  /// Asked without the lock, for each record. Whoever reads an old value takes the long way, or finds nothing open.
  private let isOpen = Atomic<Bool>(false)
  /// Answers are left to the next caller of `append`: it has to take the long way.
  private let isHandedOver = Atomic<Bool>(false)

  var handsOver: Bool {
    get { isHandedOver.load(ordering: .relaxed) }
    set { isHandedOver.store(newValue, ordering: .relaxed) }
  }

  /// Takes the record if nothing has to be decided about it; else it goes through `ProducerBuffer.append`.
  func append(_ record: RecordInput, waiter: RecordWaiter?) -> Bool {
    guard isOpen.load(ordering: .relaxed), !isHandedOver.load(ordering: .relaxed), record.partition == nil
    else { return false }
    let size = record.sizeInBytes
    let cost = size + ProducerBuffer.recordOverhead
    return filling.withLock { filling in
      guard let chunk = filling.chunk, !filling.isBarred, cost <= filling.room,
        chunk.count < Staging.maxRecords, size <= filling.limits.maxRecordBytes,
        record.headers.count <= filling.limits.maxHeaders,
        record.timestamp >= 0
      else { return false }
      filling.room -= cost
      chunk.append(record, cost: cost, waiter: waiter, keepsTag: filling.keepsTags)
      return true
    }
  }

  // MARK: Under the producer's lock

  var status: Status? {
    filling.withLock { filling in
      filling.chunk.map { Status(number: $0.number, openedAt: $0.openedAt, count: $0.count) }
    }
  }

  /// While the topic's older records are staged anew, a record of now must not get in between them: it takes the long
  /// way, and waits there for the producer's lock.
  func bar(_ isBarred: Bool) { filling.withLock { $0.isBarred = isBarred } }

  /// Opens a chunk with its first record: another thread may fill it the moment it is open.
  func open(
    _ chunk: StagedChunk, room: Int, limits: BatchLimits, keepsTags: Bool, first record: RecordInput,
    cost: Int, waiter: RecordWaiter?
  ) {
    chunk.append(record, cost: cost, waiter: waiter, keepsTag: keepsTags)
    filling.withLock { filling in
      filling = Filling(
        chunk: chunk, room: room - cost, limits: limits, keepsTags: keepsTags, isBarred: filling.isBarred)
    }
    isOpen.store(true, ordering: .relaxed)
  }

  /// Takes a record that was checked, if a chunk is open that has room for it.
  /// - Parameter takenAt: for a record that was taken before, when; a chunk of quite another age does not take it.
  func put(_ record: RecordInput, cost: Int, waiter: RecordWaiter?, takenAt: Int64?) -> Bool {
    filling.withLock { filling in
      guard let chunk = filling.chunk, cost <= filling.room, chunk.count < Staging.maxRecords,
        takenAt.map({ abs($0 - chunk.openedAt) <= Staging.maxAge }) ?? true
      else { return false }
      filling.room -= cost
      chunk.append(record, cost: cost, waiter: waiter, keepsTag: filling.keepsTags)
      return true
    }
  }

  /// Takes the chunk away; nothing goes into it any more. `room`: what is left of its bytes.
  func close() -> (chunk: StagedChunk, room: Int)? {
    isOpen.store(false, ordering: .relaxed)
    return filling.withLock { filling in
      guard let chunk = filling.chunk else { return nil }
      filling.chunk = nil
      return (chunk, filling.room)
    }
  }
}
