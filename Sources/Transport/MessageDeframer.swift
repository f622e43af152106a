import SkeinCore

/// Cuts the DATA bytes of one direction of a call into gRPC messages.
///
/// Pure. The 5-byte prefix is judged before anything is allocated: a message over the limit, compressed
/// without an announced encoding, or beyond the memory budget, is refused; the deframer then swallows what
/// follows. Each byte of a message is copied once, into the `SharedBytes` that is delivered, or inflated
/// into it.
struct MessageDeframer {
  enum Refusal: Equatable {
    /// The length on the prefix exceeds the limit.
    case tooLarge(length: Int, limit: Int)
    /// The flag of the prefix says compressed, but the call announced no encoding.
    case compressed
    /// What the flag calls compressed does not inflate.
    case corrupt
    /// The message inflates to more than the limit.
    case inflatesTooLarge(limit: Int)
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
  /// Of the message being assembled, when it is compressed; then there is no `storage`.
  private var inflater: MessageInflater?
  private var length = 0
  private var filled = 0
  private(set) var isRefusing = false
  /// The call announced `grpc-encoding: gzip`.
  var acceptsGzip = false
  /// What the last delivered message saved or cost on the wire: its length minus what its prefix said. nil:
  /// it was not compressed.
  private(set) var inflatedBy: Int?

  /// - Parameter limit: the longest message accepted, in bytes.
  init(limit: Int) { self.limit = limit }

  /// A message or a prefix has begun and is not complete.
  var isInsideMessage: Bool { prefixCount > 0 }
  /// The length of the message being assembled, once its prefix was accepted.
  var pendingLength: Int? { isAssembling ? length : nil }

  /// Bytes of that message which have come.
  var filledBytes: Int? { isAssembling ? filled : nil }

  private var isAssembling: Bool { storage != nil || inflater != nil }

  /// Consumes from the front of `input` until a message is complete or refused, or input ends.
  mutating func next(_ input: inout UnsafeRawBufferPointer, budget: MemoryBudget?) -> Step {
    guard !isRefusing else {
      input = UnsafeRawBufferPointer(rebasing: input[input.count...])
      return .needMore
    }
    if !isAssembling {
      takePrefix(&input)
      guard prefixCount == OutboundQueue.prefixBytes else { return .needMore }
      if let refusal = begin(budget) { return .refused(refusal) }
    }
    return inflater == nil ? fill(&input) : inflate(&input, budget)
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
    guard prefix.0 == 0 || acceptsGzip else { return refuse(.compressed) }
    length =
      Int(prefix.1) << 24 | Int(prefix.2) << 16 | Int(prefix.3) << 8 | Int(prefix.4)
    guard length <= limit else { return refuse(.tooLarge(length: length, limit: limit)) }
    filled = 0
    if prefix.0 == 1 {
      inflater = MessageInflater(compressed: length, limit: limit, budget: budget)
      return inflater == nil ? .overBudget(length: length) : nil
    }
    inflatedBy = nil
    var reservation: MemoryBudget.Reservation?
    if let budget {
      reservation = budget.reserve(length + Self.overheadBytes)
      guard reservation != nil else { return .overBudget(length: length) }
    }
    storage = SharedBytes.Storage(capacity: length, reservation: reservation)
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

  private mutating func inflate(_ input: inout UnsafeRawBufferPointer, _ budget: MemoryBudget?) -> Step {
    guard let inflater else { return .needMore }
    let n = min(length - filled, input.count)
    var part = UnsafeRawBufferPointer(rebasing: input[..<n])
    let progress = inflater.take(&part, budget: budget)
    filled += n - part.count
    input = UnsafeRawBufferPointer(rebasing: input[(n - part.count)...])
    switch progress {
    case .needMore:
      return filled < length ? .needMore : .refused(refuse(.corrupt))
    case .corrupt: return .refused(refuse(.corrupt))
    case .tooLarge: return .refused(refuse(.inflatesTooLarge(limit: limit)))
    case .overBudget(let bytes): return .refused(.overBudget(length: bytes))
    case .ended:
      guard filled == length else { return .refused(refuse(.corrupt)) }
      let message = inflater.message(budget)
      self.inflater = nil
      prefixCount = 0
      inflatedBy = message.count - length
      return .message(message)
    }
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
    inflater = nil
    prefixCount = 0
  }
}
