import SkeinCore

/// The records of one topic whose partitioner only the broker has: a queue of chunks, in the order in which the
/// records were taken. The first few are asked about at once; answers are applied in the order of the chunks only, so
/// a key's records reach their partition in order however the answers come. Confined to the producer's lock.
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
  let front: StagingFront
  /// Closed, in order.
  var chunks = FIFO<StagedChunk>()
  var backoff = Backoff()
  /// The broker could not say: nothing is asked before, in monotonic nanoseconds.
  var pausedUntil: Int64?
  /// Answers are there, and are left to whoever appends next: an application in full flow then places its records
  /// itself, and the loop has its time for sending. At this time the loop does it all the same.
  var handedOver: Int64? {
    didSet { front.handsOver = handedOver ?? 0 > 0 }
  }
  /// How long the loop waits for that, in nanoseconds.
  static let handOver: Int64 = 1_000_000
  /// What is being placed outside of the lock: it is ahead of all that is here.
  var placing: ChunkPlacing?
  /// Chunks that were placed, for their memory: while records flow none is allocated.
  private var spares: [StagedChunk] = []
  private var unused = 0
  /// What the last chunk held.
  private var hint = (records: 64, keyBytes: 1024, tailBytes: 4096)

  init(shape: AssignmentShape, front: StagingFront, chunkBytes: Int, lingerNanoseconds: Int64) {
    self.front = front
    self.shape = shape
    self.chunkBytes = chunkBytes
    worthAsking = min(256, max(1, chunkBytes / 2048))
    patience = min(lingerNanoseconds / 2, 2_000_000)
  }

  var isEmpty: Bool { front.status == nil && chunks.isEmpty && placing == nil }

  /// A chunk to take records.
  func makeChunk(number: UInt64, openedAt: Int64) -> StagedChunk {
    guard let spare = spares.popLast() else {
      return StagedChunk(number: number, openedAt: openedAt, like: hint)
    }
    spare.recycle(number: number, openedAt: openedAt)
    return spare
  }

  /// Keeps the memory of a chunk that was placed, for as many as may be asked about at once: together half of the
  /// producer's buffer, beside it. Not of half-empty ones, which would keep memory that nobody needs, nor of one that a
  /// single large record has made larger than others.
  func keep(_ chunk: StagedChunk) {
    guard chunk.charged * 2 > chunkBytes, chunk.charged <= chunkBytes else { return }
    if spares.count < Self.window { spares.append(chunk) }
  }

  /// Bytes of the records that the kept chunks held, for tests.
  var spareBytes: Int { spares.reduce(0) { $0 + $1.charged } }

  /// Nothing flows: what was kept is given back.
  func dropSpares() { spares.removeAll() }

  /// No more records go into the one that takes them.
  func close() {
    guard let (chunk, room) = front.close() else { return }
    unused += room
    let size = chunk.size
    hint = (size.records, min(size.keyBytes, chunkBytes), min(size.tailBytes, chunkBytes))
    if chunk.askedCount == 0 { chunk.state = .answered([]) }
    chunks.append(chunk)
  }

  /// Bytes that were charged for chunks and not taken.
  func takeUnused() -> Int {
    defer { unused = 0 }
    return unused
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
    guard chunks.isEmpty, let filling = front.status else { return nil }
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
    for at in 0..<chunks.count where chunks[at].askedCount > 0 { chunks[at].state = .waiting }
  }

  /// Takes out the chunks for which `isOut` says so.
  func remove(where isOut: (StagedChunk) -> Bool) -> [StagedChunk] { chunks.partition { !isOut($0) } }
}
