package import SkeinCore

/// One of `PreparedRecords`: where its parts lie.
package struct PreparedRecord: BitwiseCopyable, Sendable {
  /// Milliseconds since 1970, not negative.
  package let timestamp: Int64
  let keyAt: UInt32
  let tailAt: UInt32
  /// -1: no key.
  package let keyBytes: Int32
  let tailBytes: Int32

  /// Key, value and encoded headers with two lengths, in bytes: 2 more than without them at the least.
  package var sizeInBytes: Int { Int(max(keyBytes, 0)) + Int(tailBytes) }
}

/// Records that wait until it is known into which batch each goes: copied once, in order. What follows the key in a
/// batch (value and headers, with their lengths) does not depend on the batch and is encoded already;
/// `BatchBuilder.append(_:of:room:overhead:)` copies it as one piece. Keys lie side by side.
///
/// Its bytes are bounded by who fills it: below 4 GiB. Confined to one task or loop at a time.
package struct PreparedRecords: ~Copyable {
  package private(set) var count = 0
  private var records: UnsafeMutablePointer<PreparedRecord>
  private var capacity: Int
  private var keyStack: ByteStack
  private var tailStack: ByteStack

  /// The three are expectations.
  package init(records: Int, keyBytes: Int, tailBytes: Int) {
    capacity = max(records, 16)
    self.records = .allocate(capacity: capacity)
    keyStack = ByteStack(capacity: keyBytes)
    tailStack = ByteStack(capacity: tailBytes)
  }

  deinit { records.deallocate() }

  /// What was appended, to expect as much of the next ones.
  package var size: (records: Int, keyBytes: Int, tailBytes: Int) { (count, keyStack.count, tailStack.count) }

  /// All keys, one after another, shared: nothing may be appended after this, until `recycle`.
  package var keys: SharedBytes { keyStack.bytes }

  /// The records where they lie; valid until the next change.
  package var all: UnsafeBufferPointer<PreparedRecord> { UnsafeBufferPointer(start: records, count: count) }

  var keyStart: UnsafeRawPointer? { keyStack.start }
  var tailStart: UnsafeRawPointer? { tailStack.start }

  /// Copies a record, whose lengths were checked against `BatchLimits`.
  package mutating func append(
    key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?, headers: HeaderSequence, timestamp: Int64
  ) {
    let valueBytes = value?.count ?? 0
    let tail =
      Zigzag.size(Int64(value?.count ?? -1)) + valueBytes + Zigzag.size(Int64(headers.count))
      + headers.bytes.count
    if count == capacity { grow() }
    (records + count).initialize(
      to: PreparedRecord(
        timestamp: timestamp, keyAt: UInt32(truncatingIfNeeded: keyStack.count),
        tailAt: UInt32(truncatingIfNeeded: tailStack.count), keyBytes: Int32(key?.count ?? -1),
        tailBytes: Int32(tail)))
    count += 1
    if let key { keyStack.append(key) }
    var next = Zigzag.write(Int64(value?.count ?? -1), at: tailStack.extend(by: tail))
    if let source = value?.baseAddress {
      copyBytes(from: source, to: next, count: valueBytes)
      next += valueBytes
    }
    next = Zigzag.write(Int64(headers.count), at: next)
    if let source = headers.bytes.baseAddress {
      copyBytes(from: source, to: next, count: headers.bytes.count)
    }
  }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<PreparedRecord>.allocate(capacity: capacity * 2)
    larger.update(from: records, count: count)
    records.deallocate()
    records = larger
    capacity *= 2
  }

  /// Empties it and keeps its memory.
  package mutating func recycle() {
    count = 0
    keyStack.recycle()
    tailStack.recycle()
  }

  /// The parts of one record of these. Valid inside `body` only.
  package func withParts<R>(
    of record: PreparedRecord,
    _ body: (_ key: UnsafeRawBufferPointer?, _ value: UnsafeRawBufferPointer?, _ headers: HeaderSequence) -> R
  ) -> R {
    var key: UnsafeRawBufferPointer?
    if record.keyBytes >= 0 {
      // An empty key is not a missing one, though no byte of it lies anywhere.
      let start = keyStart.map { $0 + Int(record.keyAt) } ?? UnsafeRawPointer(bitPattern: 16)
      key = UnsafeRawBufferPointer(start: start, count: Int(record.keyBytes))
    }
    var tail = ByteCursor(
      UnsafeRawBufferPointer(start: tailStart.map { $0 + Int(record.tailAt) }, count: Int(record.tailBytes)))
    do throws(RecordFlaw) {
      let value = try tail.nullableBytes()
      let count = try tail.varint32()
      let headers = HeaderSequence(bytes: try tail.take(tail.remaining), count: Int(count))
      return body(key, value, headers)
    } catch {
      // Cannot be: `append` wrote it.
      return body(key, nil, .none)
    }
  }
}
