import SkeinCore

/// Cuts the DATA bytes of one direction of a call into gRPC messages.
///
/// Pure. The 5-byte prefix is judged before anything is allocated: a compressed message, one over
/// the limit, or one that the memory budget has no room for, is refused; the deframer then swallows
/// what follows. Each byte of a message is copied once, into the `SharedBytes` that is delivered.
struct MessageDeframer {
  enum Refusal: Equatable {
    /// The length on the prefix exceeds the limit.
    case tooLarge(length: Int, limit: Int)
    /// The flag of the prefix says compressed; only identity is accepted.
    case compressed
    /// The flag of the prefix is neither 0 nor 1.
    case malformedPrefix
    /// The budget refused the reservation. The prefix is kept: `next` may be called again later.
    case overBudget(length: Int)
  }

  enum Step {
    /// All input is consumed.
    case needMore
    /// A prefix was accepted; the message has `length` bytes still to come (0 is possible).
    case message(SharedBytes)
    case refused(Refusal)
  }

  /// What is charged for a message beside its bytes: two heap objects and malloc's own.
  static let overheadBytes = 128

  let limit: Int
  private var prefix: (UInt8, UInt8, UInt8, UInt8, UInt8) = (0, 0, 0, 0, 0)
  private var prefixCount = 0
  private var storage: SharedBytes.Storage?
  private var length = 0
  private var filled = 0
  private(set) var isRefusing = false

  /// - Parameter limit: the longest message accepted, in bytes.
  init(limit: Int) { self.limit = limit }

  /// A message or a prefix has begun and is not complete.
  var isInsideMessage: Bool { prefixCount > 0 }
  /// The length of the message being assembled, once its prefix was accepted.
  var pendingLength: Int? { storage == nil ? nil : length }

  /// Bytes of that message which have come.
  var filledBytes: Int? { storage == nil ? nil : filled }

  /// Consumes from the front of `input` until a message is complete or refused, or input ends.
  mutating func next(_ input: inout UnsafeRawBufferPointer, budget: MemoryBudget?) -> Step {
    guard !isRefusing else {
      input = UnsafeRawBufferPointer(rebasing: input[input.count...])
      return .needMore
    }
    if storage == nil {
      takePrefix(&input)
      guard prefixCount == OutboundQueue.prefixBytes else { return .needMore }
      if let refusal = begin(budget) { return .refused(refusal) }
    }
    return fill(&input)
  }

  private mutating func takePrefix(_ input: inout UnsafeRawBufferPointer) {
    let n = min(OutboundQueue.prefixBytes - prefixCount, input.count)
    guard n > 0, let from = input.baseAddress else { return }
    withUnsafeMutableBytes(of: &prefix) {
      ($0.baseAddress! + prefixCount).copyMemory(from: from, byteCount: n)
    }
    prefixCount += n
    input = UnsafeRawBufferPointer(rebasing: input[n...])
  }

  private mutating func begin(_ budget: MemoryBudget?) -> Refusal? {
    guard prefix.0 <= 1 else { return refuse(.malformedPrefix) }
    guard prefix.0 == 0 else { return refuse(.compressed) }
    length =
      Int(prefix.1) << 24 | Int(prefix.2) << 16 | Int(prefix.3) << 8 | Int(prefix.4)
    guard length <= limit else { return refuse(.tooLarge(length: length, limit: limit)) }
    var reservation: MemoryBudget.Reservation?
    if let budget {
      reservation = budget.reserve(length + Self.overheadBytes)
      guard reservation != nil else { return .overBudget(length: length) }
    }
    storage = SharedBytes.Storage(capacity: length, reservation: reservation)
    filled = 0
    return nil
  }

  private mutating func fill(_ input: inout UnsafeRawBufferPointer) -> Step {
    guard let storage else { return .needMore }
    let n = min(length - filled, input.count)
    if n > 0, let from = input.baseAddress {
      (storage.base + filled).copyMemory(from: from, byteCount: n)
      filled += n
      input = UnsafeRawBufferPointer(rebasing: input[n...])
    }
    guard filled == length else { return .needMore }
    self.storage = nil
    prefixCount = 0
    return .message(SharedBytes(storage, offset: 0, count: length))
  }

  /// Stops for good: nothing after a refused prefix can be found again.
  private mutating func refuse(_ refusal: Refusal) -> Refusal {
    stop()
    return refusal
  }

  /// Swallows everything from here on and lets go of a message in assembly.
  mutating func stop() {
    isRefusing = true
    storage = nil
    prefixCount = 0
  }
}
