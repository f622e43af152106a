import SkeinCore

/// The messages of one call that are not yet encrypted, in order, with a position inside the first.
///
/// Pure: it allocates nothing per message beyond its own growth. It has no limit itself; `Call`
/// bounds it (`TransportLimits.callHighWaterBytes`, `maxQueuedBytesPerCall`).
struct OutboundQueue {
  /// Bytes of the gRPC prefix: a compressed flag and a 32-bit big-endian length.
  static let prefixBytes = 5

  private static let sent = OutboundMessage(head: [])

  private var messages: [OutboundMessage] = []
  private var start = 0
  /// 0 is the prefix, 1 the head, 2 the first part, 3... the rest of the parts.
  private var segment = 0
  private var offset = 0
  private var isRaw = false
  /// Bytes left to send, prefixes included.
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }
  /// A message has been sent in part: what follows on the wire must be its remainder.
  var isInsideMessage: Bool { segment > 0 || offset > 0 }

  /// Appends bytes that travel without a prefix: the body of an HTTP response. Nothing else may be queued.
  mutating func append(raw message: OutboundMessage) {
    isRaw = true
    messages.append(message)
    count += message.count
  }

  mutating func append(_ message: OutboundMessage) {
    messages.append(message)
    count += message.count + Self.prefixBytes
  }

  /// Drops everything.
  mutating func removeAll() {
    self = OutboundQueue()
  }

  /// Hands the next `bytes` bytes (at most `count`) to `sink`, run by run; each is valid inside it only.
  mutating func take(_ bytes: Int, _ sink: (UnsafeRawBufferPointer) -> Void) {
    var left = min(bytes, count)
    count -= left
    while left > 0 {
      let size = segmentSize
      let n = min(size - offset, left)
      if n > 0 {
        emit(offset..<offset + n, sink)
        left -= n
        offset += n
      }
      if offset == size { advance() }
    }
    // A message of no more bytes than were taken may still stand at its last, empty segment.
    while start < messages.count, segment > 0, offset == segmentSize { advance() }
  }

  private var segmentSize: Int {
    switch segment {
    case 0: return isRaw ? 0 : Self.prefixBytes
    case 1: return messages[start].head.count
    case 2: return messages[start].first?.count ?? 0
    default: return messages[start].rest[segment - 3].count
    }
  }

  private func emit(_ range: Range<Int>, _ sink: (UnsafeRawBufferPointer) -> Void) {
    switch segment {
    case 0:
      let length = UInt32(truncatingIfNeeded: messages[start].count)
      let flag: UInt8 = messages[start].isCompressed ? 1 : 0
      withUnsafeBytes(of: length.bigEndian) { raw in
        var prefix: (UInt8, UInt8, UInt8, UInt8, UInt8) = (flag, raw[0], raw[1], raw[2], raw[3])
        withUnsafeBytes(of: &prefix) { sink(UnsafeRawBufferPointer(rebasing: $0[range])) }
      }
    case 1:
      messages[start].head.withUnsafeBytes { sink(UnsafeRawBufferPointer(rebasing: $0[range])) }
    case 2:
      messages[start].first?.withUnsafeBytes { sink(UnsafeRawBufferPointer(rebasing: $0[range])) }
    default:
      messages[start].rest[segment - 3].withUnsafeBytes {
        sink(UnsafeRawBufferPointer(rebasing: $0[range]))
      }
    }
  }

  private mutating func advance() {
    offset = 0
    segment += 1
    guard segment >= 3 + messages[start].rest.count else { return }
    segment = 0
    messages[start] = Self.sent  // lets go of the bytes now, not when the array is compacted
    start += 1
    if start == messages.count {
      messages.removeAll(keepingCapacity: true)
      start = 0
    } else if start >= 64, start * 2 >= messages.count {
      messages.removeFirst(start)
      start = 0
    }
  }
}
