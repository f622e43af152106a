import SkeinCore

/// The records of one topic whose partitioner only the broker has: a queue of chunks, in the order in which the
/// records were taken. The first few are asked about at once; answers are applied from the front only, so a key's
/// records reach their partition in order however the answers come. Confined to the producer's lock.
final class Staging {
  /// Chunks at the front that may be asked about at once. A question waits behind the batches that were sent before
  /// it, in sockets and windows: as much must be staged as may lie there, or the stream runs dry.
  static let window = 16
  /// Records of a question, at most (the broker's limit).
  static let maxRecords = 10_000
  /// A chunk is closed when its records reach this many bytes: a question of it costs little a record, and a window
  /// of such chunks is a part of the producer's buffer only.
  static func chunkBytes(bufferBytes: Int) -> Int { min(512 * 1024, max(1024, bufferBytes / 32)) }
  /// A chunk takes records for at most this long, in nanoseconds: its deadline is that of its first one.
  static let maxAge: Int64 = 500_000_000

  /// With nothing on its way, so many records are asked about without waiting for more.
  let worthAsking: Int

  let shape: AssignmentShape
  let chunkBytes: Int
  /// How long a few records wait for more before they are asked about, in nanoseconds: a part of the batch's linger,
  /// which counts from the same moment, so it costs no latency of its own.
  let patience: Int64
  /// Takes records.
  var filling: StagedChunk?
  /// Closed, in order.
  var chunks = FIFO<StagedChunk>()
  var backoff = Backoff()
  /// The broker could not say: nothing is asked before, in monotonic nanoseconds.
  var pausedUntil: Int64?
  /// Answers are there, and are left to whoever appends next: an application in full flow then places its records
  /// itself, and the loop has its time for sending. At this time the loop does it all the same.
  var handedOver: Int64?
  /// How long the loop waits for that, in nanoseconds.
  static let handOver: Int64 = 1_000_000
  /// A chunk that was placed, for its memory.
  var spare: StagedChunk?
  /// Records, bytes of keys and of the rest in the last chunk.
  var hint = (records: 64, keys: 1024, rest: 4096)

  init(shape: AssignmentShape, chunkBytes: Int, lingerNanoseconds: Int64) {
    self.shape = shape
    self.chunkBytes = chunkBytes
    worthAsking = min(256, max(1, chunkBytes / 2048))
    patience = min(lingerNanoseconds / 2, 2_000_000)
  }

  var isEmpty: Bool { filling == nil && chunks.isEmpty }

  /// No more records go into the one that takes them.
  func close() {
    guard let chunk = filling else { return }
    filling = nil
    hint = chunk.size
    if chunk.keyLengths.isEmpty { chunk.state = .answered([]) }
    chunks.append(chunk)
  }

  /// The place of the next chunk to ask about.
  func nextToAsk(now: Int64) -> Int? {
    for at in 0..<min(Self.window, chunks.count) {
      if case .waiting = chunks[at].state { return at }
    }
    // With nothing on its way, what has gathered goes; else it gathers until the answer, or until it is full.
    guard let due = fillingDue, due <= now else { return nil }
    close()
    if case .waiting? = chunks.first?.state { return 0 }
    return nil
  }

  /// When what gathers is asked about though it is not full, in monotonic nanoseconds; nil: with the next answer.
  var fillingDue: Int64? {
    guard chunks.isEmpty, let filling else { return nil }
    return filling.count >= worthAsking ? 0 : filling.openedAt + patience
  }

  /// The first chunk, if its answer is there.
  func takeAnswered() -> (chunk: StagedChunk, partitions: [Int32])? {
    guard case .answered(let partitions)? = chunks.first?.state, let chunk = chunks.popFirst() else {
      return nil
    }
    return (chunk, partitions)
  }

  /// The chunk that was asked about under this id.
  func asked(_ requestID: UInt64) -> Int? {
    (0..<min(Self.window, chunks.count)).first {
      if case .asked(requestID) = chunks[$0].state { true } else { false }
    }
  }

  /// Questions and answers of this stream, or of the generation before, count no more.
  func forgetAnswers() {
    for at in 0..<chunks.count where !chunks[at].keyLengths.isEmpty { chunks[at].state = .waiting }
  }

  /// Takes out the chunks for which `isOut` says so.
  func remove(where isOut: (StagedChunk) -> Bool) -> [StagedChunk] { chunks.partition { !isOut($0) } }
}
