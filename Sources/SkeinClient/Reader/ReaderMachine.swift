import SkeinCore

/// The reader without I/O, clock or lock: positions per partition, and credits.
struct ReaderMachine {
  /// One partition that is read.
  struct Slot {
    let topic: String
    let partition: Int32
    /// Where the next stream goes on: after everything received.
    var next: Int64
    /// Leader epoch of the last batch received; 0 = none yet.
    var epoch: Int32 = 0
    /// Reading ends before this offset; nil: never.
    let stop: Int64?
    /// Reached its stop, or failed for good.
    var isDone: Bool
    /// After what the consumer has taken: where reading goes on after a pause.
    var position: ReadPosition
    /// Not asked for until it is resumed.
    var isPaused = false

    init(topic: String, partition: Int32, next: Int64, epoch: Int32 = 0, stop: Int64?, isDone: Bool) {
      self.topic = topic
      self.partition = partition
      self.next = next
      self.epoch = epoch
      self.stop = stop
      self.isDone = isDone
      position = ReadPosition(offset: next, leaderEpoch: epoch)
    }
  }

  typealias Amount = CreditWindow.Amount

  /// What the broker said about the batches of one message.
  struct Arrival {
    var topic: String
    var partition: Int32
    var nextOffset: Int64
    var leaderEpoch: Int32
    /// Charged on this stream so far, this message included.
    var total: Amount
  }

  /// What to do with an arrival.
  enum Verdict {
    /// Hand it to the consumer: records from `from`, before `until`. Give back `charge` when taken.
    case deliver(slot: Int, from: Int64, until: Int64, charge: Amount)
    /// Nothing new (a repeat, or not ours any more).
    case skip
    case broken(SkeinError)
  }

  private(set) var slots: [Slot]
  private var credit: CreditWindow
  private var index: [String: [Int32: Int]] = [:]
  /// Slots that are not done.
  private var open = 0

  init(slots: [Slot], window: Amount) {
    self.slots = slots
    credit = CreditWindow(window)
    for (at, slot) in slots.enumerated() { index[slot.topic, default: [:]][slot.partition] = at }
    open = slots.count { !$0.isDone }
  }

  var isDone: Bool { open == 0 }

  var held: Amount { credit.held }
  var received: Amount { credit.received }

  /// A stream begins; the first grant.
  mutating func streamOpened() -> Amount { credit.opened() }

  mutating func streamLost() { credit.lost() }

  /// Batches came.
  mutating func arrived(_ arrival: Arrival) -> Verdict {
    guard arrival.nextOffset < Offset.limit.rawValue, let charge = credit.charge(to: arrival.total) else {
      return .broken(
        SkeinError(.internalError, "the broker's totals or offsets on the read stream make no sense"))
    }
    guard let at = index[arrival.topic]?[arrival.partition], !slots[at].isDone else { return .skip }
    // A repeat is harmless; a broker that does not move on is not.
    guard arrival.nextOffset > slots[at].next else { return .skip }
    let from = slots[at].next
    slots[at].next = arrival.nextOffset
    slots[at].epoch = arrival.leaderEpoch
    if let stop = slots[at].stop, arrival.nextOffset >= stop { finish(at) }
    credit.hold(charge)
    return .deliver(slot: at, from: from, until: slots[at].stop ?? .max, charge: charge)
  }

  /// The consumer took what was charged so.
  mutating func taken(_ charge: Amount) { credit.taken(charge) }

  /// The partition is over, for a reason that trying again does not change.
  mutating func finish(topic: String, partition: Int32) {
    if let at = index[topic]?[partition] { finish(at) }
  }

  private mutating func finish(_ at: Int) {
    guard !slots[at].isDone else { return }
    slots[at].isDone = true
    open -= 1
  }

  // MARK: Partitions that were added

  /// Reads further partitions of the first slot's topic from their beginnings, those that are not yet here and
  /// number less than `count`. Returns whether there were any.
  mutating func grow(to count: Int32, limit: Int) -> Bool {
    guard let topic = slots.first?.topic else { return false }
    let known = Set(slots.map(\.partition))
    let added = (0..<max(0, count)).filter { !known.contains($0) }.prefix(max(0, limit - slots.count))
    for partition in added {
      index[topic, default: [:]][partition] = slots.count
      slots.append(Slot(topic: topic, partition: partition, next: 0, stop: nil, isDone: false))
      open += 1
    }
    return !added.isEmpty
  }

  // MARK: Pause and seek

  /// The slot of a partition of the reader's only topic.
  func slot(_ partition: Int32) -> Int? { slots.firstIndex { $0.partition == partition } }

  /// Slots that a stream should ask for.
  var wanted: [Slot] { slots.filter { !$0.isDone && !$0.isPaused } }

  /// The consumer has a batch that ends before `offset`.
  mutating func delivered(topic: String, partition: Int32, next offset: Int64, epoch: Int32) {
    guard let at = index[topic]?[partition] else { return }
    slots[at].position = ReadPosition(offset: offset, leaderEpoch: epoch)
  }

  /// Nothing more is asked of the partition; it goes on later after what the consumer has taken. The caller
  /// drops what is queued of it.
  mutating func pause(_ at: Int) {
    slots[at].isPaused = true
    rewind(at, to: slots[at].position)
  }

  mutating func resume(_ at: Int) { slots[at].isPaused = false }

  /// Goes on elsewhere, also where the partition had ended. The caller drops what is queued of it.
  mutating func seek(_ at: Int, to position: ReadPosition) {
    slots[at].position = position
    rewind(at, to: position)
  }

  private mutating func rewind(_ at: Int, to position: ReadPosition) {
    slots[at].next = position.offset
    slots[at].epoch = position.leaderEpoch
    let isDone = slots[at].stop.map { position.offset >= $0 } ?? false
    if slots[at].isDone != isDone { open += isDone ? -1 : 1 }
    slots[at].isDone = isDone
  }

  /// The next grant, if it is worth a message.
  mutating func nextGrant() -> Amount? { credit.nextGrant() }
}
