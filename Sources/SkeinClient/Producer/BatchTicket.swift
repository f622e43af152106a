import RecordFormat
import SkeinCore

/// Who waits for the records of a batch, what the application wants to know again, and what is needed to
/// place its records anew. Immutable; it goes with the batch until that is over.
final class BatchTicket: Sendable {
  /// Callers of `send` and sinks, with the index of their record in the batch.
  let waiters: [(index: Int32, waiter: RecordWaiter)]
  /// One tag per record if a delivery handler wants them, else empty.
  let tags: [UInt64]
  /// Records that nobody waits for: their failure is reported by `flush`.
  let unattended: Int
  /// Which records the partitioner placed.
  let placement: Placement
  /// What compresses it.
  let codec: Codec
  /// When its first record was taken, in monotonic nanoseconds.
  let openedAt: Int64
  /// The topic's counters.
  let metrics: SentMetrics?

  init(
    waiters: [(index: Int32, waiter: RecordWaiter)] = [], tags: [UInt64] = [], unattended: Int = 0,
    placement: Placement = Placement(), codec: Codec = .none, openedAt: Int64 = 0, metrics: SentMetrics? = nil
  ) {
    self.waiters = waiters
    self.tags = tags
    self.unattended = unattended
    self.placement = placement
    self.codec = codec
    self.openedAt = openedAt
    self.metrics = metrics
  }
}

/// Which records of a batch came with an explicit partition: they stay where they are when the topic's
/// partitioner changes, the others are placed anew. Batches are seldom mixed, so only the places where the
/// kind changes are kept.
struct Placement: Sendable {
  /// The first record has an explicit partition.
  var startsExplicit = false
  /// Indexes at which the kind changes, rising.
  var switches: [Int32] = []

  /// Records must be asked for in order: `next` is the cursor, 0 at first.
  func isExplicit(_ index: Int32, _ next: inout Int) -> Bool {
    while next < switches.count, switches[next] <= index { next += 1 }
    return startsExplicit != (next % 2 == 1)
  }
}

/// Somebody who wants to know what became of one record. A class, so that "nobody", the fast path, is a null
/// pointer: an optional enum of a continuation is asked for its case through the runtime, for each record.
final class RecordWaiter: Sendable {
  private enum Target {
    /// A caller of `send`; nil means that the record was not taken.
    case caller(CheckedContinuation<RecordMetadata?, any Error>)
    /// A sink, and the record's number in it.
    case sink(SinkState, UInt64)
  }

  private let target: Target

  init(caller: CheckedContinuation<RecordMetadata?, any Error>) { target = .caller(caller) }
  init(sink: SinkState, number: UInt64) { target = .sink(sink, number) }

  func resume(_ result: Result<RecordMetadata, SkeinError>) {
    switch target {
    case .caller(let continuation):
      switch result {
      case .success(let metadata): continuation.resume(returning: metadata)
      case .failure(let error): continuation.resume(throwing: error)
      }
    case .sink(let sink, let number): sink.settle(number, result)
    }
  }
}
