internal import RecordFormat
internal import SkeinCore

/// Picks the batches of one read out of chunks of a segment: skips what lies before, verifies what
/// it takes, stops at the limits. A value type of one read.
struct BatchCollector {
  enum Outcome {
    /// The read is satisfied, or the next batch does not fit it.
    case done
    /// Continue `consumed` bytes further on, with a chunk of at least `needed` bytes.
    case more(consumed: Int, needed: Int)
    /// The first batch begins beyond the wanted offset: the index was wrong.
    case astray
    case damaged(String)
  }

  let key: TopicPartition
  let plan: FileRead
  let segmentBase: Int64

  private var batches: [SharedBytes] = []
  private var bytes = 0
  /// End of the last batch walked over; nil before the first.
  private var walkedTo: Int64?

  init(key: TopicPartition, plan: FileRead, segmentBase: Int64) {
    self.key = key
    self.plan = plan
    self.segmentBase = segmentBase
  }

  var result: FileReadResult {
    FileReadResult(
      batches: batches, next: Offset(batches.isEmpty ? plan.from : walkedTo ?? plan.from))
  }

  mutating func take(_ chunk: SharedBytes) -> Outcome {
    var cursor = 0
    while cursor < chunk.count {
      let parsed = chunk.withUnsafeBytes {
        StoredFrame.parse(
          UnsafeRawBufferPointer(rebasing: $0[cursor...]), key: key, verifyPayload: false)
      }
      switch parsed {
      case .failure(.incomplete(let needed)):
        // A result comes from one buffer: what does not fit it is for the next read.
        return batches.isEmpty ? .more(consumed: cursor, needed: needed) : .done
      case .failure(.damaged(let why)):
        return walkedTo == nil ? .astray : .damaged(why)
      case .success(let facts):
        if let outcome = take(facts, chunk.slice(cursor + Frame.size..<cursor + facts.byteCount)) {
          return outcome
        }
        cursor += facts.byteCount
      }
    }
    return batches.isEmpty ? .more(consumed: cursor, needed: 0) : .done
  }

  /// Nil to go on with the next batch.
  private mutating func take(_ facts: BatchFacts, _ batch: SharedBytes) -> Outcome? {
    if let walkedTo {
      guard facts.base == walkedTo else {
        return .damaged("offset \(facts.base) where \(walkedTo) was due")
      }
    } else if facts.base > plan.from && facts.base != segmentBase {
      return .astray
    }
    if facts.end <= plan.from {
      walkedTo = facts.end
      return nil
    }
    if facts.end > plan.limit { return .done }
    if !batches.isEmpty && bytes + batch.count > plan.maxBytes { return .done }
    do {
      _ = try batch.withUnsafeBytes { bytes throws(BatchError) in try BatchCheck.stored(bytes) }
    } catch {
      return .damaged("the batch at offset \(facts.base): \(error.explanation)")
    }
    batches.append(batch)
    bytes += batch.count
    walkedTo = facts.end
    return nil
  }
}
