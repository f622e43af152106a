internal import RecordFormat
internal import SkeinCore

/// Why bytes are not a stored batch.
enum StoredFlaw: Error, Sendable, Equatable, CustomStringConvertible {
  /// The bytes end before the batch does; `needed` bytes from its frame on would hold it.
  case incomplete(needed: Int)
  case damaged(String)

  var description: String {
    switch self {
    case .incomplete(let needed): "the last batch is cut short (\(needed) bytes are needed)"
    case .damaged(let why): why
    }
  }
}

/// A frame and its batch, as they lie in journal entries and segments.
enum StoredFrame {
  static let size = Frame.size
  /// Frame and batch header: what must be at hand to verify a frame.
  static let prefixSize = Frame.size + BatchHeader.size
  /// Of the frame's magic, for searching.
  static let firstByte: UInt8 = 0x53
  /// A batch beyond this is damage, whatever its length field says, in bytes.
  static let maxBatchBytes = 64 << 20

  /// The frame of a batch that was stamped with `base` and `epoch`.
  static func make(
    key: TopicPartition, header: BatchHeader, base: Int64, epoch: Int32, appendTime: Int64,
    generation: UInt32
  ) -> SharedBytes {
    var stamped = header
    stamped.baseOffset = base
    stamped.leaderEpoch = epoch
    var frame = Frame(batch: stamped, appendTime: appendTime, generation: generation)
    let bytes = SharedBytes(SharedBytes.Storage(capacity: Frame.size), offset: 0, count: Frame.size)
    bytes.withUnsafeMutableBytesBeforeSharing {
      frame.encode(into: $0, key: key, batchCRC: header.crc)
    }
    return bytes
  }

  /// What the journal asks of a batch entry's payload.
  @Sendable static func isIntact(_ key: TopicPartition, _ payload: UnsafeRawBufferPointer) -> Bool {
    guard case .success(let facts) = parse(payload, key: key, verifyPayload: true) else { return false }
    return facts.byteCount == payload.count
  }

  /// The base offset of a frame of this partition that verifies at the front of `bytes`, whether or
  /// not its records follow in full.
  static func plausibleBase(_ bytes: UnsafeRawBufferPointer, key: TopicPartition) -> Int64? {
    guard bytes.count >= prefixSize, let frame = try? Frame(parsing: bytes),
      let header = try? BatchHeader(
        parsing: UnsafeRawBufferPointer(rebasing: bytes[Frame.size..<prefixSize])),
      (try? frame.verify(key: key, batchHeader: header)) != nil
    else { return nil }
    return frame.baseOffset
  }

  /// Reads and verifies the frame and batch at the front of `bytes`: frame checksum for this
  /// partition, agreement of frame and header, and with `verifyPayload` the records' CRC.
  static func parse(
    _ bytes: UnsafeRawBufferPointer, key: TopicPartition, verifyPayload: Bool
  ) -> Result<BatchFacts, StoredFlaw> {
    guard bytes.count >= prefixSize else { return .failure(.incomplete(needed: prefixSize)) }
    do {
      let frame = try Frame(parsing: bytes)
      guard Int(frame.length) <= maxBatchBytes else { return .failure(.damaged("length \(frame.length)")) }
      let header = try BatchHeader(
        parsing: UnsafeRawBufferPointer(rebasing: bytes[Frame.size..<prefixSize]))
      try frame.verify(key: key, batchHeader: header)
      guard bytes.count >= frame.totalSize else {
        return .failure(.incomplete(needed: frame.totalSize))
      }
      if verifyPayload {
        let batch = UnsafeRawBufferPointer(rebasing: bytes[Frame.size..<frame.totalSize])
        _ = try BatchCheck.stored(batch)
      }
      return .success(BatchFacts(frame, header))
    } catch {
      return .failure(.damaged("\(error)"))
    }
  }
}

extension BatchFacts {
  init(_ frame: Frame, _ header: BatchHeader) {
    self.init(
      base: frame.baseOffset, end: frame.nextOffset, epoch: frame.leaderEpoch,
      appendTime: frame.appendTime, maxTimestamp: frame.maxTimestamp,
      producer: ProducerStamp(header), byteCount: frame.totalSize)
  }
}
