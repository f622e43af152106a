import SkeinCore

/// The body of one HTTP request in assembly.
///
/// Pure. Nothing is allocated beyond the limit or beyond what the memory budget grants: an announced body
/// is reserved whole with its first byte, another grows by doubling.
struct HTTPBody {
  /// The first allocation for a body whose length was not announced, in bytes.
  static let firstBytes = 16 << 10

  let limit: Int
  private let announced: Int?
  private var storage: SharedBytes.Storage?
  /// Bytes taken so far.
  private(set) var count = 0
  /// Swallows what still comes.
  private(set) var isStopped = false

  /// - Parameters:
  ///   - limit: the longest body accepted, in bytes.
  ///   - announced: `content-length`; at most `limit` (the caller has checked).
  init(limit: Int, announced: Int?) {
    self.limit = limit
    self.announced = announced.map { min($0, limit) }
  }

  /// Takes all of `input` from its front, or refuses: `overBudget` leaves the input for another try, `tooLarge`
  /// is for good.
  mutating func take(_ input: inout UnsafeRawBufferPointer, budget: MemoryBudget?) -> MessageDeframer.Refusal?
  {
    guard !isStopped else {
      input = UnsafeRawBufferPointer(rebasing: input[input.count...])
      return nil
    }
    guard input.count <= limit - count else {
      let length = count + input.count
      stop()
      return .tooLarge(length: length, limit: limit)
    }
    guard let from = input.baseAddress, input.count > 0 else { return nil }
    guard let storage = room(for: input.count, budget) else {
      return .overBudget(length: announced ?? count + input.count)
    }
    (storage.base + count).copyMemory(from: from, byteCount: input.count)
    count += input.count
    input = UnsafeRawBufferPointer(rebasing: input[input.count...])
    return nil
  }

  /// The whole body; what follows is swallowed.
  mutating func finish() -> SharedBytes {
    defer { stop() }
    return storage.map { SharedBytes($0, offset: 0, count: count) } ?? .empty
  }

  mutating func stop() {
    isStopped = true
    storage = nil
  }

  private mutating func room(for bytes: Int, _ budget: MemoryBudget?) -> SharedBytes.Storage? {
    let needed = count + bytes
    if let storage, storage.capacity >= needed { return storage }
    let grown = min(limit, max(Self.firstBytes, 2 * (storage?.capacity ?? 0)))
    let capacity = max(needed, announced ?? grown)
    var reservation: MemoryBudget.Reservation?
    if let budget {
      reservation = budget.reserve(capacity + MessageDeframer.overheadBytes)
      guard reservation != nil else { return nil }
    }
    let larger = SharedBytes.Storage(capacity: capacity, reservation: reservation)
    if let storage { larger.base.copyMemory(from: storage.base, byteCount: count) }
    storage = larger
    return larger
  }
}
