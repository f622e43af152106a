import NIOCore

/// Watches the frame headers that the peer sends, for the floods that nghttp2 does not count: empty
/// DATA, PRIORITY, unknown types, WINDOW_UPDATE; HEADERS whose stream id goes back; header blocks
/// longer than the frame limit spread over CONTINUATION; and whether something begun is not complete.
///
/// Pure: it walks the same decrypted bytes as nghttp2, nine bytes per frame, and holds no payload.
struct FrameMeter {
  /// What is wrong, in words; the connection must be closed.
  typealias Abuse = String

  private let isServer: Bool
  private let headerBlockLimit: Int
  /// Bytes of the client's connection preface still to skip.
  private var skip: Int
  private var header: (UInt64, UInt8) = (0, 0)
  private var headerCount = 0
  private var junk: TokenBucket
  private var control: TokenBucket
  private var highestStream: UInt32 = 0
  private var headerBlock = 0
  private var isInsideData = false
  private var isInsideHeaderBlock = false
  /// Things that came whole: the preface, a frame, a header block with its CONTINUATIONs.
  private(set) var units: UInt64 = 0
  /// The preface and the first SETTINGS.
  private let opening: UInt64

  /// - Parameter isServer: the peer is a client, so its bytes begin with the 24-byte preface.
  init(isServer: Bool, limits: TransportLimits, now: NIODeadline) {
    self.isServer = isServer
    headerBlockLimit = 2 * limits.maxHeaderListBytes
    skip = isServer ? 24 : 0
    opening = isServer ? 2 : 1
    junk = TokenBucket(burst: limits.junkFrameBurst, perSecond: limits.junkFramesPerSecond, now: now)
    // A peer that reads returns credit about twice per window; ten times the junk rate is far above it.
    control = TokenBucket(
      burst: limits.junkFrameBurst &* 10, perSecond: limits.junkFramesPerSecond &* 50, now: now)
  }

  /// Takes the next bytes of the peer.
  mutating func feed(_ bytes: UnsafeRawBufferPointer, now: NIODeadline) -> Abuse? {
    var index = 0
    while index < bytes.count {
      if skip > 0 {
        let n = min(skip, bytes.count - index)
        skip -= n
        index += n
        if skip == 0 { complete() }
        continue
      }
      let n = min(9 - headerCount, bytes.count - index)
      withUnsafeMutableBytes(of: &header) { raw in
        for offset in 0..<n { raw[headerCount + offset] = bytes[index + offset] }
      }
      headerCount += n
      index += n
      guard headerCount == 9 else { break }
      headerCount = 0
      if let abuse = judge(now) { return abuse }
      if skip == 0 { complete() }
    }
    return nil
  }

  /// Something was begun that is of no use until it is complete, or the connection has not really opened. DATA is
  /// not of that kind: its messages have a rate of their own.
  var isWaiting: Bool {
    headerCount > 0 || isInsideHeaderBlock || (skip > 0 && !isInsideData) || units < opening
  }

  private mutating func complete() {
    if !isInsideHeaderBlock { units &+= 1 }
  }

  /// A client's HEADERS open the next stream or are trailers; nghttp2 ignores those of a stream that was
  /// skipped or is closed, at the price of their decompression. A few are races, many are an attack.
  private mutating func accept(_ stream: UInt32, _ now: NIODeadline) -> Bool {
    if stream > highestStream {
      highestStream = stream
      return true
    }
    return junk.take(now)
  }

  private mutating func judge(_ now: NIODeadline) -> Abuse? {
    let word = header.0.bigEndian
    let length = Int(word >> 40)
    let type = UInt8(truncatingIfNeeded: word >> 32)
    let flags = UInt8(truncatingIfNeeded: word >> 24)
    // The stream id is bytes 5 to 8: three in the word, one behind it.
    let stream = (UInt32(truncatingIfNeeded: word) & 0x7f_ffff) << 8 | UInt32(header.1)
    skip = length
    isInsideData = type == 0
    if type == 1 || type == 9 { isInsideHeaderBlock = flags & 4 == 0 }
    switch type {
    case 0:  // DATA; empty is of use only with END_STREAM
      if length == 0, flags & 1 == 0, !junk.take(now) { return "a flood of empty DATA frames" }
    case 1:  // HEADERS
      headerBlock = length
      if headerBlock > headerBlockLimit { return "a header block over \(headerBlockLimit) bytes" }
      if isServer, !accept(stream, now) { return "a flood of HEADERS on streams opened before" }
    case 2: if !junk.take(now) { return "a flood of PRIORITY frames" }
    case 3, 7: break  // RST_STREAM, GOAWAY: nghttp2 counts what matters
    case 4, 6, 8:  // SETTINGS, PING, WINDOW_UPDATE; nghttp2 bounds the answers that wait, not their rate
      if !control.take(now) { return "a flood of SETTINGS, PING or WINDOW_UPDATE frames" }
    case 9:  // CONTINUATION: nghttp2 counts them, but not their bytes
      headerBlock += length
      if headerBlock > headerBlockLimit { return "a header block over \(headerBlockLimit) bytes" }
    default: if !junk.take(now) { return "a flood of frames of unknown type" }
    }
    return nil
  }
}

/// So many at once, so many per second after that.
struct TokenBucket {
  private let burst: UInt64
  private let perSecond: UInt64
  private var tokens: UInt64
  private var refilled: NIODeadline

  init(burst: UInt64, perSecond: UInt64, now: NIODeadline) {
    self.burst = burst
    self.perSecond = perSecond
    tokens = burst
    refilled = now
  }

  /// False when there is none left.
  mutating func take(_ now: NIODeadline) -> Bool {
    let elapsed = (now - refilled).nanoseconds
    if elapsed >= 1_000_000_000 {
      let seconds = UInt64(elapsed / 1_000_000_000)
      let (earned, overflow) = seconds.multipliedReportingOverflow(by: perSecond)
      tokens = overflow || earned >= burst - tokens ? burst : tokens + earned
      refilled = now
    }
    guard tokens > 0 else { return false }
    tokens -= 1
    return true
  }
}
