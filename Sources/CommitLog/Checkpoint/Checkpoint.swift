internal import SkeinCore

/// What a directory knew of its partitions when everything in their segments was synced: the start
/// of the next recovery. Byte table in Docs/formats/checkpoint.md.
///
/// The journal is recycled only after a checkpoint that covers the recycled part is durable, so the
/// newest checkpoint and the journal together are always complete; segments need not be scanned.
struct Checkpoint: Equatable {
  struct Row: Equatable {
    var key: TopicPartition
    var logStart: Int64 = 0
    /// End of what the segments hold.
    var end: Int64 = 0
    var lastAppendTime: Int64 = 0
    /// The cleaner has passed everything below.
    var cleanedEnd: Int64 = 0
    var corruption: String?
    var epochs: [EpochCache.Entry] = []
    /// Without indexes.
    var segments: [Segment] = []
    var producers: [(id: Int64, entry: ProducerTable.Entry)] = []

    static func == (a: Row, b: Row) -> Bool {
      a.key == b.key && a.logStart == b.logStart && a.end == b.end && a.epochs == b.epochs
        && a.lastAppendTime == b.lastAppendTime && a.corruption == b.corruption
        && a.segments == b.segments && a.cleanedEnd == b.cleanedEnd
        && a.producers.elementsEqual(b.producers) { $0 == $1 }
    }
  }

  /// Rises by one with every checkpoint; part of the file's name.
  var generation: UInt64 = 0
  /// The leader epoch of the process that wrote it (R22).
  var leaderEpoch: Int32 = 0
  var rows: [Row] = []

  static let version: UInt32 = 2
  /// Also read: without what the cleaner knows.
  private static let oldVersion: UInt32 = 1
  private static let magic: UInt32 = 0x534B_4350  // "SKCP"

  func encoded() -> [UInt8] {
    var out = ByteWriter(capacity: 64 + rows.count * 160)
    out.put(Self.magic)
    out.put(Self.version)
    out.put(generation)
    out.put(leaderEpoch)
    out.put(UInt32(rows.count))
    for row in rows { row.encode(into: &out) }
    out.putChecksum()
    return out.bytes
  }

  /// Nil for anything but a whole checkpoint of this version.
  init?(decoding bytes: [UInt8]) {
    guard var input = ByteReader(checked: bytes),
      input.uint32() == Self.magic, let version = input.uint32(),
      version == Self.version || version == Self.oldVersion,
      let generation = input.uint64(), let epoch = input.int32(), epoch >= 0,
      let count = input.uint32(), Int(count) <= input.remaining / Row.minimumSize
    else { return nil }
    let isOld = version == Self.oldVersion
    self.generation = generation
    self.leaderEpoch = epoch
    rows.reserveCapacity(Int(count))
    for _ in 0..<count {
      guard let row = Row(decoding: &input, isOld: isOld) else { return nil }
      rows.append(row)
    }
    guard input.remaining == 0 else { return nil }
  }

  init() {}
}

extension Checkpoint.Row {
  static let minimumSize = 55
  private static let corruptionLimit = 4096

  func encode(into out: inout ByteWriter) {
    out.put(key.topic.high)
    out.put(key.topic.low)
    out.put(key.partition)
    out.put(UInt8(corruption == nil ? 0 : 1))
    out.put(logStart)
    out.put(end)
    out.put(lastAppendTime)
    out.put(cleanedEnd)
    out.put(UInt16(clamping: epochs.count))
    out.put(UInt32(segments.count))
    out.put(UInt32(producers.count))
    if let corruption {
      out.put(String(decoding: corruption.utf8.prefix(Self.corruptionLimit), as: UTF8.self))
    }
    for epoch in epochs {
      out.put(epoch.epoch)
      out.put(epoch.start)
    }
    for segment in segments { segment.encode(into: &out) }
    for (id, entry) in producers { entry.encode(id, into: &out) }
  }

  init?(decoding input: inout ByteReader, isOld: Bool) {
    guard let high = input.uint64(), let low = input.uint64(), let partition = input.int32(),
      let flags = input.uint8(), let logStart = input.int64(), let end = input.int64(),
      let time = input.int64(), let cleaned = isOld ? 0 : input.int64(),
      let epochCount = input.integer(UInt16.self),
      let segmentCount = input.uint32(), let producerCount = input.uint32(),
      logStart >= 0, end >= logStart, end < Offset.limit.rawValue, cleaned >= 0
    else { return nil }
    key = TopicPartition(topic: TopicID(high: high, low: low), partition: partition)
    self.logStart = logStart
    self.end = end
    lastAppendTime = time
    cleanedEnd = cleaned
    if flags & 1 != 0 {
      guard let why = input.string(limit: Self.corruptionLimit * 3) else { return nil }
      corruption = why
    }
    for _ in 0..<epochCount {
      guard let epoch = input.int32(), let start = input.int64() else { return nil }
      epochs.append(EpochCache.Entry(epoch: epoch, start: start))
    }
    guard decodeSegments(Int(segmentCount), &input, isOld: isOld), decodeProducers(Int(producerCount), &input)
    else {
      return nil
    }
  }

  private mutating func decodeSegments(_ count: Int, _ input: inout ByteReader, isOld: Bool) -> Bool {
    guard count <= input.remaining / (isOld ? Segment.oldEncodedSize : Segment.encodedSize) else {
      return false
    }
    segments.reserveCapacity(count)
    for _ in 0..<count {
      guard let segment = Segment(decoding: &input, isOld: isOld), segment.base >= segments.last?.end ?? 0,
        segment.end <= end
      else { return false }
      segments.append(segment)
    }
    return true
  }

  private mutating func decodeProducers(_ count: Int, _ input: inout ByteReader) -> Bool {
    guard count <= input.remaining / 20 else { return false }
    producers.reserveCapacity(count)
    for _ in 0..<count {
      guard let id = input.int64(), let entry = ProducerTable.Entry(decoding: &input) else { return false }
      producers.append((id, entry))
    }
    return true
  }
}

extension Segment {
  static let encodedSize = 61
  fileprivate static let oldEncodedSize = 49

  fileprivate func encode(into out: inout ByteWriter) {
    out.put(base)
    out.put(end)
    out.put(size)
    out.put(firstAppendTime)
    out.put(lastAppendTime)
    out.put(maxTimestamp)
    out.put(UInt8(isSealed ? 1 : 0))
    out.put(generation)
    out.put(tombstonesUntil)
  }

  fileprivate init?(decoding input: inout ByteReader, isOld: Bool) {
    guard let base = input.int64(), let end = input.int64(), let size = input.int64(),
      let first = input.int64(), let last = input.int64(), let newest = input.int64(),
      let sealed = input.uint8(), let generation = isOld ? 0 : input.uint32(),
      let tombstones = isOld ? .min : input.int64(), base >= 0, end >= base, size >= 0, size < 1 << 32
    else { return nil }
    self.init(base: base, generation: generation)
    tombstonesUntil = tombstones
    self.end = end
    self.size = size
    firstAppendTime = first
    lastAppendTime = last
    maxTimestamp = newest
    isSealed = sealed != 0
    index = isSealed ? nil : SegmentIndex(coversFrom: size)
  }
}

extension ProducerTable.Entry {
  fileprivate func encode(_ id: Int64, into out: inout ByteWriter) {
    out.put(id)
    out.put(epoch)
    out.put(lastUsed)
    out.put(UInt8(droppedOlder ? 1 : 0))
    out.put(UInt8(batches.count))
    for batch in inOrder {
      out.put(batch.firstSequence)
      out.put(batch.lastSequence)
      out.put(batch.base)
    }
  }

  fileprivate init?(decoding input: inout ByteReader) {
    guard let epoch = input.int16(), let lastUsed = input.int64(), let dropped = input.uint8(),
      let count = input.uint8(), (1...ProducerTable.window).contains(Int(count))
    else { return nil }
    var batches: [ProducerTable.Batch] = []
    batches.reserveCapacity(Int(count))
    for _ in 0..<count {
      guard let first = input.int32(), let last = input.int32(), let base = input.int64(),
        first >= 0, last >= 0, base >= 0
      else { return nil }
      batches.append(ProducerTable.Batch(firstSequence: first, lastSequence: last, base: base))
    }
    self.init(
      epoch: epoch, lastUsed: lastUsed, droppedOlder: dropped != 0, batches: batches, oldest: 0)
  }
}
