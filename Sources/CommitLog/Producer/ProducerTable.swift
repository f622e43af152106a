/// What one partition remembers of its idempotent producers: epoch, last sequence and the last
/// `window` batches of each (P2, P7), so that a retry gets its original offset (P4).
///
/// The state is derived from batch headers alone (P8): `record` is the only mutation, whether the
/// batch comes from a client, from the journal or from a segment. A value type with no storage
/// while it is empty, because most partitions are idle. Threading: its owner's.
package struct ProducerTable: Sendable, Equatable {
  /// Batches remembered per producer: the announced in-flight window W (P7).
  package static let window = 32
  /// A producer unused for this long is forgotten, in milliseconds of append time (P9).
  package static let lifetimeMilliseconds: Int64 = 24 * 60 * 60 * 1000

  package struct Batch: Sendable, Equatable {
    package var firstSequence: Int32
    package var lastSequence: Int32
    package var base: Int64

    /// Records in the batch; sequences wrap from 2^31-1 to 0.
    package var count: Int64 { Int64(ProducerSequence.distance(from: firstSequence, to: lastSequence)) + 1 }
    package var end: Int64 { base + count }
  }

  package struct Entry: Sendable, Equatable {
    package var epoch: Int16
    /// Append time of the last batch, in milliseconds.
    package var lastUsed: Int64
    /// Batches of this epoch were dropped from the window, so sequences older than it did exist.
    package var droppedOlder: Bool
    /// A ring once it holds `window` batches: `oldest` is then the index of the oldest.
    package var batches: [Batch]
    package var oldest: Int

    package var newest: Batch? {
      guard !batches.isEmpty else { return nil }
      return batches[oldest == 0 ? batches.count - 1 : oldest - 1]
    }

    /// Oldest first.
    package var inOrder: [Batch] { Array(batches[oldest...] + batches[..<oldest]) }
  }

  package private(set) var entries: [Int64: Entry] = [:]

  package init() {}

  package var count: Int { entries.count }
  package var isEmpty: Bool { entries.isEmpty }

  // MARK: Checks, in the order of the write path

  /// The remembered batch that this one repeats exactly (P4), if any. Comes before the check of
  /// the partitioner's generation, so that a retry of an old generation gets its offset.
  package func duplicate(of stamp: ProducerStamp) -> Batch? {
    guard let entry = entries[stamp.id], entry.epoch == stamp.epoch else { return nil }
    // The newest are the likeliest: walk the ring backwards.
    var index = entry.oldest
    for _ in entry.batches.indices {
      index = index == 0 ? entry.batches.count - 1 : index - 1
      let batch = entry.batches[index]
      if batch.firstSequence == stamp.firstSequence && batch.lastSequence == stamp.lastSequence {
        return batch
      }
    }
    return nil
  }

  package enum Verdict: Sendable, Equatable {
    case accept
    /// A lower epoch than the newest seen (P3).
    case fenced(current: Int16)
    /// A gap, an overlap, or a new epoch that does not start at 0 (P3, P5).
    case outOfOrder(expected: Int32)
    /// Wholly before the window: appended long ago (P5).
    case olderThanWindow
    /// No state and not a first batch (P6).
    case unknownProducer
    /// The whole window is not durable yet (P7).
    case tooManyInFlight
  }

  /// Judges a batch that `duplicate(of:)` did not know.
  /// - Parameters:
  ///   - now: append time in milliseconds; a state older than the lifetime counts as absent (P9).
  ///   - durableEnd: batches that end above it are in flight; pass `Int64.max` to skip P7.
  package func check(_ stamp: ProducerStamp, now: Int64, durableEnd: Int64) -> Verdict {
    guard let entry = entries[stamp.id], !Self.isExpired(entry, now: now), let newest = entry.newest
    else { return stamp.firstSequence == 0 ? .accept : .unknownProducer }
    if stamp.epoch < entry.epoch { return .fenced(current: entry.epoch) }
    if stamp.epoch > entry.epoch {
      return stamp.firstSequence == 0 ? .accept : .outOfOrder(expected: 0)
    }
    let expected = ProducerSequence.next(newest.lastSequence)
    if stamp.firstSequence == expected {
      let full = entry.batches.count == Self.window
      return full && entry.batches[entry.oldest].end > durableEnd ? .tooManyInFlight : .accept
    }
    let oldest = entry.batches[entry.oldest].firstSequence
    if entry.droppedOlder && ProducerSequence.isBefore(stamp.firstSequence, oldest)
      && ProducerSequence.isBefore(stamp.lastSequence, oldest)
    {
      return .olderThanWindow
    }
    return .outOfOrder(expected: expected)
  }

  // MARK: Mutation

  /// Remembers an appended batch.
  package mutating func record(_ stamp: ProducerStamp, base: Int64, appendTime: Int64) {
    let batch = Batch(firstSequence: stamp.firstSequence, lastSequence: stamp.lastSequence, base: base)
    guard let found = entries.index(forKey: stamp.id) else {
      entries[stamp.id] = Entry(
        epoch: stamp.epoch, lastUsed: appendTime, droppedOlder: false, batches: [batch], oldest: 0)
      return
    }
    entries.values[found].append(batch, epoch: stamp.epoch, appendTime: appendTime)
  }

  /// Puts back one producer of a snapshot.
  package mutating func restore(_ id: Int64, _ entry: Entry) { entries[id] = entry }

  /// Forgets who was not used for the lifetime (P9); returns how many.
  package mutating func expire(now: Int64) -> Int {
    guard !entries.isEmpty else { return 0 }
    let before = entries.count
    // Most sweeps find nothing: do not rebuild the dictionary for them.
    guard entries.values.contains(where: { Self.isExpired($0, now: now) }) else { return 0 }
    entries = entries.filter { !Self.isExpired($0.value, now: now) }
    return before - entries.count
  }

  package func contains(_ id: Int64) -> Bool { entries[id] != nil }

  private static func isExpired(_ entry: Entry, now: Int64) -> Bool {
    now > entry.lastUsed && now - entry.lastUsed > lifetimeMilliseconds
  }
}

extension ProducerTable.Entry {
  /// Adds the newest batch; a new epoch begins with an empty window.
  fileprivate mutating func append(_ batch: ProducerTable.Batch, epoch newEpoch: Int16, appendTime: Int64) {
    lastUsed = max(lastUsed, appendTime)
    if newEpoch != epoch || batch.firstSequence == 0 && newest?.lastSequence != Int32.max {
      // A first batch after an expiry starts again like a new epoch.
      epoch = newEpoch
      batches.removeAll(keepingCapacity: true)
      oldest = 0
      droppedOlder = false
    }
    if batches.count < ProducerTable.window {
      batches.append(batch)
    } else {
      batches[oldest] = batch
      oldest = oldest + 1 == ProducerTable.window ? 0 : oldest + 1
      droppedOlder = true
    }
  }
}

/// Who sent a batch and which sequences it carries, from its header.
package struct ProducerStamp: Sendable, Equatable {
  package var id: Int64
  package var epoch: Int16
  package var firstSequence: Int32
  package var lastSequence: Int32

  package init(id: Int64, epoch: Int16, firstSequence: Int32, lastSequence: Int32) {
    self.id = id
    self.epoch = epoch
    self.firstSequence = firstSequence
    self.lastSequence = lastSequence
  }
}

/// Arithmetic on producer sequences: 0 ... 2^31-1, then 0 again (P3).
package enum ProducerSequence {
  package static func advance(_ sequence: Int32, by count: Int32) -> Int32 {
    Int32((Int64(sequence) + Int64(count)) & 0x7fff_ffff)
  }
  package static func next(_ sequence: Int32) -> Int32 { advance(sequence, by: 1) }

  /// Steps forward from `a` to `b`.
  package static func distance(from a: Int32, to b: Int32) -> Int32 {
    Int32((Int64(b) - Int64(a)) & 0x7fff_ffff)
  }

  /// `a` lies behind `b`, taking the shorter way round.
  package static func isBefore(_ a: Int32, _ b: Int32) -> Bool {
    a != b && distance(from: a, to: b) < 1 << 30
  }
}
