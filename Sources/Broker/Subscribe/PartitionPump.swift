import CommitLog
import NIOCore
import RecordFormat
import SkeinCore

/// Who sends what a pump reads. Called on the pump's loop, once a message.
protocol PumpOwner: AnyObject {
  /// The connection takes data, and the stream is in a state to send some.
  var takesRecords: Bool { get }
  /// Batches that begin here or behind are not to be sent now; a partition that stands there is held until `release`.
  func limit(of cursor: PartitionCursor) -> Offset
  func deliver(_ run: PumpedBatches)
  /// The partition is at an end until `seek`.
  func failed(_ cursor: PartitionCursor, _ fault: Fault)
}

/// Reads the partitions of one stream and hands out what its credits allow (stream rule 2): both credits above zero,
/// and only the last batch may go below.
///
/// A read begins only while both credits are above zero and the connection takes data, so a slow reader holds at
/// most one message a partition plus the transport's bounded queue. All streams together hold at most
/// `readBudget`, from the start of a read until its message is encrypted; beyond it reads are put off. Partitions take
/// turns; finding the next costs the same with one as with thousands.
///
/// Confined to the stream's loop. Holds its owner until `stop`. `@unchecked Sendable`: for that reason.
final class PartitionPump: @unchecked Sendable {
  static let defaultMessageBytes = 256 << 10
  /// Reads of one stream in progress at once.
  static let maximumReads = 4
  private static let retryDelay = TimeAmount.milliseconds(20)

  private let context: BrokerContext
  private let eventLoop: any EventLoop
  private let messageBytes: Int
  private var owner: (any PumpOwner)?
  /// Cursors to be read, in turn; those that are so no more stay until their turn comes.
  private var queue = CircularBuffer<PartitionCursor>(initialCapacity: 1)
  private var reads = 0
  /// Cumulative totals: granted by the client, charged by us.
  private var granted = (messages: UInt64(0), bytes: UInt64(0))
  private(set) var sentMessages: UInt64 = 0
  private(set) var sentBytes: UInt64 = 0
  /// Bytes asked for by reads in progress: reserved from the credit, so that parallel reads do not
  /// overshoot it together.
  private var reservedBytes: UInt64 = 0
  /// Set while reads are put off for want of memory.
  private var retry: Scheduled<Void>?

  /// - Parameter messageBytes: stored bytes in one message at most; a larger batch is sent alone. 0 = the default.
  init(context: BrokerContext, eventLoop: any EventLoop, messageBytes: UInt32, owner: any PumpOwner) {
    self.context = context
    self.eventLoop = eventLoop
    self.messageBytes =
      messageBytes == 0 ? Self.defaultMessageBytes : min(Int(messageBytes), context.limits.maxFetchBytes)
    self.owner = owner
  }

  // MARK: From the owner

  /// Cumulative totals that only rise.
  func grant(messages: UInt64, bytes: UInt64) {
    granted.messages = max(granted.messages, messages)
    granted.bytes = max(granted.bytes, bytes)
  }

  /// Begins with a cursor, or goes on with one that was held. `pump` follows.
  func release(_ cursor: PartitionCursor) {
    guard cursor.isHeld else { return }
    enqueue(cursor)
  }

  /// Sends nothing more of it, a read under way included, until `release`.
  func hold(_ cursor: PartitionCursor) {
    if cursor.isEnded { return }
    set(cursor, .held)
  }

  /// Goes on elsewhere, also after an error. A cursor that is held stays so.
  func seek(_ cursor: PartitionCursor, to offset: Offset, lastEpoch: LeaderEpoch? = nil, held: Bool) {
    set(cursor, .held)
    cursor.offset = offset
    cursor.lastEpoch = lastEpoch
    cursor.needed = 0
    if !held { enqueue(cursor) }
  }

  /// Gives a cursor up.
  func end(_ cursor: PartitionCursor) { set(cursor, .ended) }

  /// Reads nothing more; the owner has given its cursors up.
  func stop() {
    owner = nil
    retry?.cancel()
    retry = nil
    queue.removeAll()
  }

  private func set(_ cursor: PartitionCursor, _ activity: PartitionCursor.Activity) {
    if case .waiting(let waiter) = cursor.activity { waiter.cancel() }
    cursor.turn &+= 1
    cursor.activity = activity
  }

  private func enqueue(_ cursor: PartitionCursor) {
    cursor.activity = .ready
    guard !cursor.isQueued else { return }
    cursor.isQueued = true
    queue.append(cursor)
  }

  // MARK: Reading

  private var hasCredit: Bool {
    sentMessages < granted.messages && sentBytes + reservedBytes < granted.bytes
  }

  func pump() {
    guard let owner else { return }
    while reads < Self.maximumReads, hasCredit, !queue.isEmpty, owner.takesRecords {
      let cursor = queue.removeFirst()
      cursor.isQueued = false
      guard case .ready = cursor.activity else { continue }
      guard cursor.offset < owner.limit(of: cursor) else {
        set(cursor, .held)
        continue
      }
      guard read(cursor) else { return }
    }
  }

  /// False when memory is short.
  private func read(_ cursor: PartitionCursor) -> Bool {
    var want = Int(min(UInt64(messageBytes), granted.bytes - sentBytes - reservedBytes))
    let records = granted.messages - sentMessages
    if cursor.bytesPerRecord > 0, records < UInt64(want / cursor.bytesPerRecord) {
      want = max(1, Int(records) * cursor.bytesPerRecord)
    }
    guard let charge = context.readBudget.reserve(max(want, cursor.needed)) else {
      putOff(cursor)
      return false
    }
    cursor.activity = .reading
    reads += 1
    reservedBytes += UInt64(want)
    let turn = cursor.turn
    let bytes = want
    context.partitions.shard(of: cursor.key).onLoop {
      [offset = cursor.offset, lastEpoch = cursor.lastEpoch] shard in
      shard.read(
        cursor.key, from: offset, maxBytes: bytes, lastEpoch: lastEpoch, replyLoop: self.eventLoop
      ) { result in
        self.finished(cursor, turn, result, reserved: UInt64(bytes), charge)
      }
    }
    return true
  }

  /// Streams hold all that they may: this cursor first, a little later.
  private func putOff(_ cursor: PartitionCursor) {
    context.metrics.readsThrottled.add(1)
    cursor.activity = .ready
    if !cursor.isQueued {
      cursor.isQueued = true
      queue.prepend(cursor)
    }
    guard retry == nil else { return }
    retry = eventLoop.scheduleTask(in: Self.retryDelay) {
      self.retry = nil
      self.pump()
    }
  }

  private func finished(
    _ cursor: PartitionCursor, _ turn: UInt32, _ result: Result<ReadSlice, Fault>, reserved: UInt64,
    _ charge: MemoryBudget.Reservation
  ) {
    reads -= 1
    reservedBytes -= reserved
    guard let owner else { return }
    guard cursor.turn == turn else { return pump() }
    switch result {
    case .failure(let fault) where fault.reason == .overloaded: return putOff(cursor)
    case .failure(let fault):
      set(cursor, .ended)
      owner.failed(cursor, fault)
    case .success(let slice):
      cursor.highWatermark = slice.highWatermark
      // Asked again: what was read may stand beyond a bound that is newer than the read.
      let limit = owner.limit(of: cursor)
      guard cursor.offset < limit else {
        set(cursor, .held)
        break
      }
      if slice.batches.isEmpty, slice.next <= cursor.offset {
        wait(cursor)
      } else if !hand(slice, cursor, below: limit, charge, to: owner) {
        return putOff(cursor)
      }
    }
    pump()
  }

  private func wait(_ cursor: PartitionCursor) {
    let turn = cursor.turn
    let waiter = ReadWaiter(loop: eventLoop) {
      guard self.owner != nil, cursor.turn == turn, cursor.isAtEnd else { return }
      self.enqueue(cursor)
      self.pump()
    }
    cursor.activity = .waiting(waiter)
    context.partitions.shard(of: cursor.key).onLoop { [offset = cursor.offset] in
      $0.wait(cursor.key, past: offset, waiter)
    }
  }

  /// Hands out as many batches as the credits allow, which may have gone to another partition meanwhile.
  /// - Returns: false when memory is short.
  private func hand(
    _ slice: ReadSlice, _ cursor: PartitionCursor, below limit: Offset, _ charge: MemoryBudget.Reservation,
    to owner: any PumpOwner
  ) -> Bool {
    var (records, bytes) = (sentMessages, sentBytes)
    var taken = 0
    var base = cursor.offset
    var next = slice.next
    var expected = cursor.offset.rawValue
    var isDense = true
    var isAtLimit = false
    for batch in slice.batches {
      guard records < granted.messages, bytes < granted.bytes else { break }
      let header = batch.withUnsafeBytes { try? BatchHeader(parsing: $0) }
      if let header {
        guard header.baseOffset < limit.rawValue else {
          isAtLimit = true
          break
        }
        records += UInt64(max(0, header.recordCount))
        if taken == 0 { base = Offset(header.baseOffset) }
        next = Offset(header.nextOffset)
        isDense =
          isDense && header.baseOffset <= expected && header.recordCount > header.lastOffsetDelta
          && !header.isControl
        expected = header.nextOffset
      }
      bytes += UInt64(batch.count)
      taken += 1
    }
    let isWhole = taken == slice.batches.count
    // Nothing stands between the last one taken and what comes next, or the limit.
    if isAtLimit { next = max(Offset(expected), limit) }
    if isWhole { next = max(Offset(expected), min(slice.next, limit)) }
    isDense = isDense && expected == next.rawValue
    guard taken > 0 || isWhole || isAtLimit else {
      enqueue(cursor)
      return true
    }
    let size = Int(bytes - sentBytes)
    // A batch is sent whole, however large; then it is charged whole.
    guard let exact = context.readBudget.reserve(size) ?? (size <= charge.bytes ? charge : nil) else {
      cursor.needed = size
      return false
    }
    cursor.needed = 0
    if records > sentMessages { cursor.bytesPerRecord = max(1, size / Int(records - sentMessages)) }
    (sentMessages, sentBytes) = (records, bytes)
    context.metrics.bytesOut.add(size)
    let from = cursor.offset
    cursor.offset = next
    cursor.lastEpoch = slice.leaderEpoch
    enqueue(cursor)
    owner.deliver(
      PumpedBatches(
        cursor: cursor, batches: isWhole ? slice.batches : Array(slice.batches[..<taken]), base: base,
        from: from,
        next: next, highWatermark: slice.highWatermark, logStart: slice.logStart,
        leaderEpoch: slice.leaderEpoch, totalMessages: records, totalBytes: bytes,
        isDense: isDense, charge: exact))
    return true
  }
}
