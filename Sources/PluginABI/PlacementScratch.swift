internal import CSkeinPlugin

/// The arrays of one `batch` call, used again for the next: after the first batches of a size nothing is allocated.
///
/// Its owner calls it from one thread at a time.
package struct PlacementScratch: ~Copyable {
  private var records = Room()
  private var headers = Room()
  private var words: UnsafeMutableBufferPointer<UInt64> = .init(start: nil, count: 0)
  private var answers: UnsafeMutableBufferPointer<Int32> = .init(start: nil, count: 0)

  /// Grown in steps, never shrunk below what the largest batch took.
  private struct Room: ~Copyable {
    var values: UnsafeMutableBufferPointer<skein_bytes> = .init(start: nil, count: 0)
    mutating func reserve(_ count: Int) {
      guard values.count < count else { return }
      values.deallocate()
      values = .allocate(capacity: max(count, 64))
    }
    deinit { values.deallocate() }
  }

  package init() {}

  deinit {
    words.deallocate()
    answers.deallocate()
  }

  /// Places the records of `columns`, whose lengths were checked, and gives the answers to `body`.
  /// - Returns: nil if the columns do not fit each other (a length past the end of its bytes).
  package mutating func place<R>(
    _ columns: borrowing PlacementColumns, on instance: LoadedInstance,
    _ body: (UnsafeMutableBufferPointer<Int32>) -> R
  ) -> R? {
    guard case .partitioner(let table) = instance.tables, let batch = table.batch else { return nil }
    let count = columns.count
    records.reserve(count)
    headers.reserve(count * columns.headerNames)
    reserve(words: (columns.partitions + 1) / 2 + count, answers: count)
    guard Self.fill(records.values, columns.keyLengths, columns.keys),
      Self.fill(headers.values, columns.headerLengths, columns.headerValues),
      let wordBase = words.baseAddress, let answerBase = answers.baseAddress
    else { return nil }
    // Timestamps first: they need 8-byte alignment, weights need 4.
    let stamps = UnsafeMutableRawPointer(wordBase)
    if let source = columns.timestamps.baseAddress { stamps.copyMemory(from: source, byteCount: count * 8) }
    let weights = stamps + count * 8
    if let source = columns.weights.baseAddress {
      weights.copyMemory(from: source, byteCount: columns.partitions * 4)
    }
    var topic = skein_topic()
    topic.size = UInt32(MemoryLayout<skein_topic>.size)
    topic.partitions = Int32(columns.partitions)
    topic.weights =
      columns.weights.isEmpty ? nil : UnsafePointer(weights.assumingMemoryBound(to: UInt32.self))
    withUnsafeMutableBytes(of: &topic.id) { id in
      id.storeBytes(of: columns.topicHigh.bigEndian, as: UInt64.self)
      id.storeBytes(of: columns.topicLow.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
    var set = skein_records()
    set.size = UInt32(MemoryLayout<skein_records>.size)
    set.count = UInt32(count)
    set.keys = UnsafePointer(records.values.baseAddress)
    set.timestamps =
      columns.timestamps.isEmpty ? nil : UnsafePointer(stamps.assumingMemoryBound(to: Int64.self))
    set.header_names = UInt32(columns.headerNames)
    set.headers = columns.headerNames == 0 ? nil : UnsafePointer(headers.values.baseAddress)
    let out = UnsafeMutableBufferPointer(start: answerBase, count: count)
    // A record that the plug-in forgets is out of range, not the answer of the batch before.
    out.update(repeating: Int32.min)
    batch(instance.pointer, &topic, &set, out.baseAddress)
    return body(out)
  }

  private mutating func reserve(words wordCount: Int, answers answerCount: Int) {
    if words.count < wordCount {
      words.deallocate()
      words = .allocate(capacity: max(wordCount, 64))
    }
    if answers.count < answerCount {
      answers.deallocate()
      answers = .allocate(capacity: max(answerCount, 64))
    }
  }

  /// `lengths` holds length + 1, 0 = absent.
  private static func fill(
    _ room: UnsafeMutableBufferPointer<skein_bytes>, _ lengths: UnsafeRawBufferPointer,
    _ bytes: UnsafeRawBufferPointer
  ) -> Bool {
    var at = 0
    // An empty value has a pointer all the same: NULL says that there is none.
    let base = (bytes.baseAddress ?? UnsafeRawPointer(bitPattern: 16))?.assumingMemoryBound(to: UInt8.self)
    for i in 0..<lengths.count / 4 {
      let coded = Int(lengths.loadUnaligned(fromByteOffset: i * 4, as: UInt32.self))
      guard coded > 0 else {
        room[i] = skein_bytes(ptr: nil, len: 0)
        continue
      }
      guard coded - 1 <= bytes.count - at else { return false }
      room[i] = skein_bytes(ptr: base?.advanced(by: at), len: coded - 1)
      at += coded - 1
    }
    return true
  }
}

/// A batch's columns where they lie, in a `PlacementBatch` or in a frame. Valid inside the call that was given it.
package struct PlacementColumns: ~Copyable {
  package var topicHigh: UInt64 = 0
  package var topicLow: UInt64 = 0
  /// 1 to 10,000.
  package var partitions = 1
  /// 1 to 100,000.
  package var count = 0
  package var headerNames = 0
  /// u32 each, of any alignment: `partitions` or none.
  package var weights = UnsafeRawBufferPointer(start: nil, count: 0)
  /// i64 each: `count` or none.
  package var timestamps = UnsafeRawBufferPointer(start: nil, count: 0)
  /// u32 each, length + 1: `count`.
  package var keyLengths = UnsafeRawBufferPointer(start: nil, count: 0)
  package var keys = UnsafeRawBufferPointer(start: nil, count: 0)
  /// u32 each, length + 1: `count * headerNames`.
  package var headerLengths = UnsafeRawBufferPointer(start: nil, count: 0)
  package var headerValues = UnsafeRawBufferPointer(start: nil, count: 0)

  package init() {}

  /// skein_plugin.h's limits; what is beyond them never reaches a plug-in.
  package static let recordLimit = 100_000
  package static let partitionLimit = 10_000
  package static let headerLimit = 8

  /// Whether the counts fit each other and the limits.
  package var isConsistent: Bool {
    (1...Self.partitionLimit).contains(partitions) && (1...Self.recordLimit).contains(count)
      && (0...Self.headerLimit).contains(headerNames) && keyLengths.count == count * 4
      && headerLengths.count == count * headerNames * 4
      && (weights.isEmpty || weights.count == partitions * 4)
      && (timestamps.isEmpty || timestamps.count == count * 8)
  }

  /// Whether each answer is a partition or -1.
  package static func outOfRange(_ answers: UnsafeBufferPointer<Int32>, partitions: Int) -> Int {
    var wrong = 0
    // -1 becomes 0 when 1 is added: one unsigned comparison for both ends.
    let limit = UInt32(partitions)
    for answer in answers where UInt32(bitPattern: answer &+ 1) > limit { wrong += 1 }
    return wrong
  }
}
