import RecordFormat
import SkeinCore

/// Records on their way to their partitions: copied once, in order, until the broker has said where each goes.
///
/// What makes a record special (an explicit partition, a codec of its own, somebody who waits) is kept beside the
/// records, and only in a chunk that has such a one.
///
/// `@unchecked Sendable`: it belongs to one place at a time, and a lock lies between any two: to `StagingFront` while
/// it takes records, to the producer while it is asked about, to `ChunkPlacing` after that. So other accesses are
/// excluded, and the runtime need not look for them at each record.
final class StagedChunk: @unchecked Sendable {
  /// What a record has that others have not.
  private struct Extra {
    /// The partition that the caller gave; -1: the partitioner decides.
    var explicit: Int32 = -1
    /// -1: the topic's.
    var codec: Int16 = -1
  }

  enum State {
    /// To be asked, or asked again.
    case waiting
    case asked(requestID: UInt64)
    /// One per question: a partition, or -1 for any.
    case answered([Int32])
  }

  /// Rises with every chunk of the producer; `flush` waits by it.
  private(set) var number: UInt64
  /// When its first record was taken, in monotonic nanoseconds: deadlines count from here.
  private(set) var openedAt: Int64
  var state = State.waiting
  /// The generation of the last question.
  var generation: UInt32 = 0
  /// What the last question was refused with.
  var refusal: SkeinError?
  /// What it holds of the producer's buffer, in bytes.
  @exclusivity(unchecked) private(set) var charged = 0
  /// The largest record's key, value and headers, in bytes.
  @exclusivity(unchecked) private(set) var largest = 0
  /// Every answer names a partition.
  var isPlacedWhole = false

  @exclusivity(unchecked) private(set) var records: PreparedRecords
  /// One per record, or none at all.
  @exclusivity(unchecked) private var extras: [Extra] = []
  @exclusivity(unchecked) private var explicitCount = 0
  private var waiters: [(index: Int32, waiter: RecordWaiter)] = []
  @exclusivity(unchecked) private(set) var tags: [UInt64] = []
  @exclusivity(unchecked) private(set) var unattended = 0

  /// - Parameter hint: the chunk before, which was about as large.
  init(number: UInt64, openedAt: Int64, like hint: (records: Int, keyBytes: Int, tailBytes: Int)) {
    self.number = number
    self.openedAt = openedAt
    records = PreparedRecords(records: hint.records, keyBytes: hint.keyBytes, tailBytes: hint.tailBytes)
  }

  /// Begins anew with the memory of its last use, which is still in the cache. Nothing waits for it any more.
  func recycle(number: UInt64, openedAt: Int64) {
    self.number = number
    self.openedAt = openedAt
    state = .waiting
    generation = 0
    refusal = nil
    charged = 0
    largest = 0
    isPlacedWhole = false
    unattended = 0
    explicitCount = 0
    extras.removeAll(keepingCapacity: true)
    tags.removeAll(keepingCapacity: true)
    waiters.removeAll(keepingCapacity: true)
    records.recycle()
  }

  var count: Int { records.count }
  /// Records that are asked about: those that nobody gave a partition.
  var askedCount: Int { records.count - explicitCount }
  /// Nothing is special about any of its records.
  var isPlain: Bool { extras.isEmpty && waiters.isEmpty }
  var size: (records: Int, keyBytes: Int, tailBytes: Int) { records.size }

  /// Copies the record; its lengths were checked.
  func append(_ record: RecordInput, cost: Int, waiter: RecordWaiter?, keepsTag: Bool) {
    if let waiter { waiters.append((Int32(records.count), waiter)) } else { unattended += 1 }
    if keepsTag { tags.append(record.tag) }
    charged += cost
    largest = max(largest, record.sizeInBytes)
    if record.partition != nil || record.codec != nil || !extras.isEmpty { note(record) }
    records.append(
      key: record.key, value: record.value, headers: record.headers, timestamp: record.timestamp)
  }

  private func note(_ record: RecordInput) {
    while extras.count < records.count { extras.append(Extra()) }
    extras.append(Extra(explicit: record.partition ?? -1, codec: record.codec?.rawValue ?? -1))
    if record.partition != nil { explicitCount += 1 }
  }

  /// Who waits for it; empties what it is made of.
  func takeTicket() -> BatchTicket {
    defer {
      waiters = []
      tags = []
      unattended = 0
    }
    return BatchTicket(waiters: waiters, tags: tags, unattended: unattended, openedAt: openedAt)
  }

  /// Every record in order, with its waiter. The pointers are valid inside `body` only.
  func forEach(_ body: (RecordInput, RecordWaiter?) -> Void) {
    var nextWaiter = 0
    for index in 0..<records.count {
      let record = records.all[index]
      let extra = extras.isEmpty ? Extra() : extras[index]
      var waiter: RecordWaiter?
      if nextWaiter < waiters.count, waiters[nextWaiter].index == Int32(index) {
        waiter = waiters[nextWaiter].waiter
        nextWaiter += 1
      }
      records.withParts(of: record) { key, value, headers in
        body(
          RecordInput(
            key: key, value: value, headers: headers, headerBytes: headers.sizeInBytes,
            timestamp: record.timestamp, partition: extra.explicit < 0 ? nil : extra.explicit,
            tag: index < tags.count ? tags[index] : 0, codec: Codec(rawValue: extra.codec)), waiter)
      }
    }
  }

  /// The question about those of its records that nobody gave a partition; nil when there are none.
  func question(requestID: UInt64, topic: String, generation: UInt32, shape: AssignmentShape)
    -> AssignmentQuestion?
  {
    guard askedCount > 0 else { return nil }
    var question = AssignmentQuestion(requestID: requestID, topic: topic, generation: generation)
    if explicitCount == 0 {
      question.keyLengths = records.all.map { UInt32($0.keyBytes + 1) }
      question.keys = records.keys
    } else {
      var keys = ByteStack(capacity: 16 * askedCount)
      forEach { record, _ in
        guard record.partition == nil else { return }
        question.keyLengths.append(record.key.map { UInt32($0.count) + 1 } ?? 0)
        if let key = record.key { keys.append(key) }
      }
      question.keys = keys.bytes
    }
    guard !shape.headers.isEmpty || shape.timestamps else { return question }
    var values = ByteStack(capacity: shape.headers.isEmpty ? 0 : 16 * askedCount)
    forEach { record, _ in
      guard record.partition == nil else { return }
      if shape.timestamps { question.timestamps.append(record.timestamp) }
      for name in shape.headers {
        // The first one of a name counts.
        let header = record.headers.first { $0.name.elementsEqual(name.utf8) }
        question.headerLengths.append(header.map { UInt32($0.value?.count ?? 0) + 1 } ?? 0)
        if let value = header?.value { values.append(value) }
      }
    }
    question.headerValues = values.bytes
    return question
  }
}

/// What a topic's partitioner is told of each record, besides its key.
struct AssignmentShape: Sendable, Hashable {
  /// Names of headers; the first of a name counts.
  var headers: [String] = []
  var timestamps = false
}

/// One `AssignRequest`, column by column.
struct AssignmentQuestion: Sendable {
  let requestID: UInt64
  let topic: String
  let generation: UInt32
  /// Key's length plus 1 of each record; 0: no key.
  var keyLengths: [UInt32] = []
  var keys = SharedBytes.empty
  var headerLengths: [UInt32] = []
  var headerValues = SharedBytes.empty
  var timestamps: [Int64] = []
}

/// The broker's answer to one.
struct AssignmentAnswer: Sendable {
  let requestID: UInt64
  var generation: UInt32 = 0
  var partitions: [Int32] = []
  var error: SkeinError?
}
