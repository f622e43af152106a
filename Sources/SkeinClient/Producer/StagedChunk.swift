import RecordFormat
import SkeinCore

/// Bytes that grow at their end, in one piece; what was appended stays where it is relative to the start.
struct ByteStack: ~Copyable {
  private var storage: SharedBytes.Storage?
  private(set) var count = 0
  private let initialCapacity: Int

  init(capacity: Int) { initialCapacity = max(64, capacity) }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress, bytes.count > 0 else { return }
    room(bytes.count).copyMemory(from: source, byteCount: bytes.count)
    count += bytes.count
  }

  @inline(__always)
  private mutating func room(_ more: Int) -> UnsafeMutableRawPointer {
    if let storage, storage.capacity - count >= more { return storage.base + count }
    return grow(more)
  }

  private mutating func grow(_ more: Int) -> UnsafeMutableRawPointer {
    let larger = SharedBytes.Storage(
      capacity: max(count + more, storage.map { $0.capacity * 2 } ?? initialCapacity))
    if let storage { larger.base.copyMemory(from: storage.base, byteCount: count) }
    storage = larger
    return larger.base + count
  }

  /// Empties it and keeps its memory, unless somebody else still has that.
  mutating func recycle() {
    count = 0
    if !isKnownUniquelyReferenced(&storage) { storage = nil }
  }

  /// What is there, shared: nothing may be appended after this.
  var bytes: SharedBytes { storage.map { SharedBytes($0, offset: 0, count: count) } ?? .empty }
}

/// Records on their way to their partitions: copied once, in order, until the broker has said where each goes.
///
/// Keys that are asked about lie side by side, with their lengths, as the question carries them. Confined to the
/// producer's lock, which excludes other accesses: the runtime need not look for them at each record.
final class StagedChunk {
  /// One record, as far as it is not bytes.
  private struct Entry {
    /// -1: none.
    let keyBytes: Int32
    let valueBytes: Int32
    let headerBytes: Int32
    let headerCount: Int32
    let timestamp: Int64
    /// The partition that the caller gave; -1: the partitioner decides.
    let explicit: Int32
    /// -1: the topic's.
    let codec: Int16
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
  /// Key's length plus 1 of each record that is asked about; 0: no key.
  @exclusivity(unchecked) private(set) var keyLengths: [UInt32] = []

  @exclusivity(unchecked) private var entries: [Entry] = []
  @exclusivity(unchecked) private var keys: ByteStack
  /// Values and headers, and the keys of records that are not asked about.
  @exclusivity(unchecked) private var rest: ByteStack
  private var waiters: [(index: Int32, waiter: RecordWaiter)] = []
  @exclusivity(unchecked) private var tags: [UInt64] = []
  @exclusivity(unchecked) private var unattended = 0

  /// - Parameter hint: the chunk before, which was about as large.
  init(number: UInt64, openedAt: Int64, like hint: (records: Int, keys: Int, rest: Int)) {
    self.number = number
    self.openedAt = openedAt
    keys = ByteStack(capacity: hint.keys)
    rest = ByteStack(capacity: hint.rest)
    entries.reserveCapacity(hint.records)
    keyLengths.reserveCapacity(hint.records)
  }

  /// Begins anew with the memory of its last use, which is still in the cache. Nothing waits for it any more.
  func recycle(number: UInt64, openedAt: Int64) {
    self.number = number
    self.openedAt = openedAt
    state = .waiting
    generation = 0
    refusal = nil
    charged = 0
    unattended = 0
    keyLengths.removeAll(keepingCapacity: true)
    entries.removeAll(keepingCapacity: true)
    tags.removeAll(keepingCapacity: true)
    waiters.removeAll(keepingCapacity: true)
    keys.recycle()
    rest.recycle()
  }

  var count: Int { entries.count }
  var size: (records: Int, keys: Int, rest: Int) { (entries.count, keys.count, rest.count) }

  /// Copies the record; its lengths were checked.
  func append(_ record: RecordInput, cost: Int, waiter: RecordWaiter?, keepsTag: Bool) {
    if let waiter { waiters.append((Int32(entries.count), waiter)) } else { unattended += 1 }
    if keepsTag { tags.append(record.tag) }
    charged += cost
    entries.append(
      Entry(
        keyBytes: record.key.map { Int32($0.count) } ?? -1,
        valueBytes: record.value.map { Int32($0.count) } ?? -1,
        headerBytes: Int32(record.headers.sizeInBytes), headerCount: Int32(record.headers.count),
        timestamp: record.timestamp, explicit: record.partition ?? -1, codec: record.codec?.rawValue ?? -1))
    if record.partition == nil {
      keyLengths.append(record.key.map { UInt32($0.count) + 1 } ?? 0)
      if let key = record.key { keys.append(key) }
    } else if let key = record.key {
      rest.append(key)
    }
    if let value = record.value { rest.append(value) }
    if record.headers.sizeInBytes > 0 { rest.append(record.headers.encoded) }
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
    let (keyBytes, restBytes) = (keys.bytes, rest.bytes)
    keyBytes.withUnsafeBytes { keyBytes in
      restBytes.withUnsafeBytes { restBytes in
        var (keyAt, restAt, nextWaiter) = (0, 0, 0)
        func take(_ bytes: UnsafeRawBufferPointer, _ at: inout Int, _ count: Int32) -> UnsafeRawBufferPointer?
        {
          guard count >= 0 else { return nil }
          defer { at += Int(count) }
          return UnsafeRawBufferPointer(rebasing: bytes[at..<at + Int(count)])
        }
        for index in entries.indices {
          let entry = entries[index]
          let key =
            entry.explicit < 0
            ? take(keyBytes, &keyAt, entry.keyBytes) : take(restBytes, &restAt, entry.keyBytes)
          let value = take(restBytes, &restAt, entry.valueBytes)
          let headers =
            take(restBytes, &restAt, entry.headerBytes) ?? UnsafeRawBufferPointer(start: nil, count: 0)
          var waiter: RecordWaiter?
          if nextWaiter < waiters.count, waiters[nextWaiter].index == Int32(index) {
            waiter = waiters[nextWaiter].waiter
            nextWaiter += 1
          }
          body(
            RecordInput(
              key: key, value: value,
              headers: HeaderSequence(bytes: headers, count: Int(entry.headerCount)),
              headerBytes: headers.count, timestamp: entry.timestamp,
              partition: entry.explicit < 0 ? nil : entry.explicit,
              tag: index < tags.count ? tags[index] : 0, codec: Codec(rawValue: entry.codec)), waiter)
        }
      }
    }
  }

  /// The question about those of its records that nobody gave a partition; nil when there are none.
  func question(requestID: UInt64, topic: String, generation: UInt32, shape: AssignmentShape)
    -> AssignmentQuestion?
  {
    guard !keyLengths.isEmpty else { return nil }
    var question = AssignmentQuestion(
      requestID: requestID, topic: topic, generation: generation, keyLengths: keyLengths, keys: keys.bytes)
    guard !shape.headers.isEmpty || shape.timestamps else { return question }
    var values = ByteStack(capacity: shape.headers.isEmpty ? 0 : 16 * keyLengths.count)
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
  let keyLengths: [UInt32]
  let keys: SharedBytes
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
