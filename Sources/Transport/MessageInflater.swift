import CZlib
import SkeinCore

/// Inflates one gzip message of a call as its bytes arrive, into the memory that is delivered.
///
/// Bounded in every direction: the output never exceeds `limit`, each growth of it is reserved from the
/// budget first, zlib's own state is charged too, and nothing is taken because the input promises it. A
/// bomb costs its sender the connection's credit and us at most one message of the limit. Loop only.
final class MessageInflater {
  enum Progress {
    /// All input is consumed.
    case needMore
    /// The gzip stream is complete; whether the message is, only its length can tell.
    case ended
    /// Not gzip, or broken.
    case corrupt
    /// More than `limit` bytes come out.
    case tooLarge
    /// The budget refused so many bytes; call again with the same input.
    case overBudget(Int)
  }

  /// What zlib holds while it inflates: a window of 32 KiB and its tables.
  private static let stateBytes = 44 << 10
  /// The first output is this many times the compressed length: what JSON and log lines come to.
  private static let usualRatio = 4
  private static let smallestOutput = 256
  /// Largest window, with gzip's header and trailer instead of zlib's.
  private static let windowBits: Int32 = 15 + 16

  private let stream: UnsafeMutablePointer<z_stream>
  private let stateReservation: MemoryBudget.Reservation?
  private let limit: Int
  private var storage: SharedBytes.Storage
  private var produced = 0
  private var hasEnded = false

  /// - Parameters:
  ///   - compressed: length of the message on the wire.
  ///   - limit: the longest message accepted after inflation.
  /// - Returns: nil when the budget or zlib has no memory.
  init?(compressed: Int, limit: Int, budget: MemoryBudget?) {
    let first = min(limit, max(compressed.multipliedClamped(by: Self.usualRatio), Self.smallestOutput))
    var reservation: MemoryBudget.Reservation?
    if let budget {
      stateReservation = budget.reserve(Self.stateBytes)
      reservation = budget.reserve(first + MessageDeframer.overheadBytes)
      guard stateReservation != nil, reservation != nil else { return nil }
    } else {
      stateReservation = nil
    }
    let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    stream.initialize(to: z_stream())
    guard
      inflateInit2_(stream, Self.windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else {
      stream.deallocate()
      return nil
    }
    self.stream = stream
    self.limit = limit
    storage = SharedBytes.Storage(capacity: first, reservation: reservation)
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  /// Consumes from the front of `input`, which must not reach beyond the message.
  func take(_ input: inout UnsafeRawBufferPointer, budget: MemoryBudget?) -> Progress {
    guard !hasEnded else { return input.isEmpty ? .ended : .corrupt }
    while true {
      if produced == limit { return probe(&input) }
      if produced == storage.capacity, let refused = grow(budget) { return .overBudget(refused) }
      let room = storage.capacity - produced
      let (status, left) = step(&input, into: storage.base + produced, room)
      produced += room - left
      switch status {
      case Z_STREAM_END:
        hasEnded = true
        return input.isEmpty ? .ended : .corrupt
      case Z_OK, Z_BUF_ERROR:
        if left > 0, input.isEmpty { return .needMore }
        // Z_BUF_ERROR with input and room would turn for ever.
        if left == room, status == Z_BUF_ERROR { return .corrupt }
      default: return .corrupt
      }
    }
  }

  /// The inflated message, once `take` has said `ended`. Memory far beyond its length is given back.
  func message(_ budget: MemoryBudget?) -> SharedBytes {
    let whole = SharedBytes(storage, offset: 0, count: produced)
    guard produced < storage.capacity / 2 else { return whole }
    var reservation: MemoryBudget.Reservation?
    if let budget {
      reservation = budget.reserve(produced + MessageDeframer.overheadBytes)
      guard reservation != nil else { return whole }
    }
    let exact = SharedBytes.Storage(capacity: produced, reservation: reservation)
    exact.base.copyMemory(from: storage.base, byteCount: produced)
    return SharedBytes(exact, offset: 0, count: produced)
  }

  /// At the limit only the end may follow: one more byte is too much.
  private func probe(_ input: inout UnsafeRawBufferPointer) -> Progress {
    var extra: UInt8 = 0
    let (status, left) = step(&input, into: &extra, 1)
    if left == 0 { return .tooLarge }
    switch status {
    case Z_STREAM_END:
      hasEnded = true
      return input.isEmpty ? .ended : .corrupt
    case Z_OK, Z_BUF_ERROR: return input.isEmpty ? .needMore : .corrupt
    default: return .corrupt
    }
  }

  /// One call of inflate. Returns its status and the room that is left.
  private func step(
    _ input: inout UnsafeRawBufferPointer, into output: UnsafeMutableRawPointer, _ room: Int
  ) -> (status: Int32, left: Int) {
    let offered = UInt32(clamping: input.count)
    let space = UInt32(clamping: room)
    // zlib declares its input mutable but does not write to it.
    stream.pointee.next_in = UnsafeMutableRawPointer(mutating: input.baseAddress)?
      .assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_in = offered
    stream.pointee.next_out = output.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = space
    let status = inflate(stream, Z_NO_FLUSH)
    input = UnsafeRawBufferPointer(rebasing: input[Int(offered - stream.pointee.avail_in)...])
    return (status, room - Int(space - stream.pointee.avail_out))
  }

  /// Doubles the output. Returns the bytes that the budget refused, or nil.
  private func grow(_ budget: MemoryBudget?) -> Int? {
    let capacity = min(limit, max(storage.capacity.multipliedClamped(by: 2), Self.smallestOutput))
    var reservation: MemoryBudget.Reservation?
    if let budget {
      reservation = budget.reserve(capacity + MessageDeframer.overheadBytes)
      guard reservation != nil else { return capacity }
    }
    let larger = SharedBytes.Storage(capacity: capacity, reservation: reservation)
    larger.base.copyMemory(from: storage.base, byteCount: produced)
    storage = larger
    return nil
  }
}

extension Int {
  /// The product, or `Int.max`.
  fileprivate func multipliedClamped(by factor: Int) -> Int {
    let (product, overflow) = multipliedReportingOverflow(by: factor)
    return overflow ? .max : product
  }
}
