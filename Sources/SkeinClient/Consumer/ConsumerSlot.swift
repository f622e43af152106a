import SkeinCore

/// One partition that the member has, from its grant until it is given back or lost.
struct ConsumerSlot: Sendable {
  enum Phase: Sendable {
    /// Delivered. Then: revoking.
    case active
    /// To be given back: nothing of it begins any more, what was begun is waited for. Then: handingOver or releasing.
    case revoking
    /// The application's `revoked` runs. Then: releasing.
    case handingOver
    /// The last commit is under way. Then it is gone.
    case releasing
  }

  enum Item: Sendable {
    case chunk(ReceivedChunk)
    case failure(SkeinError)
  }

  /// What is to be committed.
  struct Want: Sendable {
    var position: ReadPosition
    var metadata = ""
    /// A caller waits for it, or asked for it; else it is told by `commitFailed`.
    var isAwaited = false
  }

  /// A record that was handed to a concurrent handler.
  struct Pending: Sendable {
    var offset: Int64
    var epoch: Int32
    var isDone: Bool
  }

  let partition: ConsumedPartition
  /// Another one under the same name is another partition.
  let topicID: String
  /// Names this grant, never used again.
  let grant: UInt64
  var phase = Phase.active
  /// The application's `assigned` has not returned: nothing is delivered.
  var isStarting: Bool
  var isPaused = false
  /// It failed, and waits for a seek.
  var isFailed = false
  /// Rises with every seek: what was taken before it counts no more.
  var generation: UInt32 = 0
  /// Number of the newest seek on this stream; records of an older one are dropped.
  var seek: UInt32 = 0
  /// A seek that the stream must still be told, once it is settled; what comes until then is dropped.
  var needsSeek = false
  /// Where to go on after everything received; nil: nothing has come, the broker knows.
  var received: ReadPosition?
  /// After what the application took.
  var position: ReadPosition?
  /// Below it everything was processed; nil: nothing was, or not since the last seek.
  var processed: ReadPosition?
  /// What the group has for certain; nil: not known.
  var committed: Int64?
  var want: Want?
  /// Its offset in the commit that is under way.
  var committing: Int64?
  /// Received, in order.
  var queue = FIFO<Item>()
  /// In the machine's list of those that can be delivered.
  var isListed = false
  /// Who takes it apart now.
  var lease: UInt64?
  var isLoopLease = false
  /// It was paused meanwhile: the lease ends with what is in hand.
  var isCut = false
  /// Leases and handlers under way, also those from before a seek.
  var outstanding = 0
  /// Handed to concurrent handlers, or to a loop whose application acknowledges, and not all done; offsets rise.
  var pending = FIFO<Pending>()
  /// When it is to be given back at the latest, in monotonic nanoseconds.
  var releaseDeadline: Int64 = .max
  /// After a failure that passes: when to ask for it again.
  var retryAt: Int64?

  init(_ partition: ConsumedPartition, topicID: String, grant: UInt64, isStarting: Bool) {
    self.partition = partition
    self.topicID = topicID
    self.grant = grant
    self.isStarting = isStarting
  }

  var isDeliverable: Bool {
    phase == .active && !isStarting && !isPaused && lease == nil && !queue.isEmpty
  }

  /// A loop has processed what lies below `position`, from where it began; what handlers are still at before that
  /// comes first.
  mutating func finished(below position: ReadPosition) {
    guard !pending.isEmpty else { return advance(to: position) }
    let last = pending.count - 1
    guard position.offset - 1 > pending[last].offset else { return }
    if pending[last].isDone {
      // One entry stands for all that is done at the end.
      pending[last].offset = position.offset - 1
      pending[last].epoch = position.leaderEpoch
    } else {
      pending.append(Pending(offset: position.offset - 1, epoch: position.leaderEpoch, isDone: true))
    }
  }

  private mutating func advance(to position: ReadPosition) {
    if position.offset > processed?.offset ?? -1 { processed = position }
  }

  /// A concurrent handler is done; what is done without a gap counts.
  mutating func completed(_ offset: Int64) {
    // Binary search: offsets rise.
    var low = 0
    var high = pending.count
    while low < high {
      let middle = (low + high) / 2
      if pending[middle].offset < offset { low = middle + 1 } else { high = middle }
    }
    guard low < pending.count, pending[low].offset == offset else { return }
    pending[low].isDone = true
    while let first = pending.first, first.isDone {
      _ = pending.popFirst()
      advance(to: ReadPosition(offset: first.offset + 1, leaderEpoch: first.epoch))
    }
  }

  /// The position that an automatic commit would store, if that is news.
  var uncommitted: ReadPosition? {
    guard let processed, processed.offset > asked else { return nil }
    return processed
  }

  /// As far as somebody has asked for a commit that was not refused.
  var asked: Int64 { max(committed ?? -1, committing ?? -1, want?.position.offset ?? -1) }
}

/// The right to take one chunk of a partition apart.
struct ConsumerLease: Sendable {
  let slot: Int
  let grant: UInt64
  let generation: UInt32
  let id: UInt64
}

/// One record on its way through a concurrent handler.
struct RecordTicket: Sendable {
  let slot: Int
  let grant: UInt64
  let generation: UInt32
  let offset: Int64
}
