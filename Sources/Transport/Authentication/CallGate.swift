import NIOCore
import SkeinCore

/// Holds back what a call sends until its token was judged: raw bytes, neither cut into messages nor inflated.
///
/// Bounded by the call's receive window, whose credit is not returned meanwhile, and charged to a budget.
/// Confined to the call's loop.
final class CallGate {
  /// What is reserved at a time, in bytes.
  static let step = 16 << 10

  let key: CallCredential.Key
  private let budget: MemoryBudget
  private(set) var isOpen = false
  /// The peer has ended its side meanwhile.
  var endHeld = false
  /// The call was asked to end because its token is about to expire.
  var wasAskedToEnd = false
  private(set) var held: [UInt8] = []
  private var reservations: [MemoryBudget.Reservation] = []

  init(key: CallCredential.Key, budget: MemoryBudget) {
    self.key = key
    self.budget = budget
  }

  /// False when the budget has no room.
  func hold(_ bytes: UnsafeRawBufferPointer) -> Bool {
    while reservations.count * Self.step < held.count + bytes.count {
      guard let reservation = budget.reserve(Self.step) else { return false }
      reservations.append(reservation)
    }
    held.append(contentsOf: bytes)
    return true
  }

  /// What was held, once.
  func take() -> [UInt8] {
    defer { held = [] }
    return held
  }

  /// What found no room goes back in front of what came since.
  func putBack(_ bytes: some Collection<UInt8>) { held.insert(contentsOf: bytes, at: 0) }

  func open() {
    isOpen = true
    held = []
    reservations = []
  }
}

extension Call {
  /// Waits for its token to be judged. Loop only.
  var isHeld: Bool { gate.map { !$0.isOpen } ?? false }

  /// DATA of a call that waits.
  func hold(_ bytes: UnsafeRawBufferPointer, _ gate: CallGate) {
    guard gate.hold(bytes) else {
      connection?.session?.consumeStream(stream, bytes.count)
      return abandon(
        GRPCStatus(
          .resourceExhausted,
          "too much is held for calls that wait for their authentication; try again later",
          cause: .noMemory))
    }
    receivedBytes &+= bytes.count
    unreleased += bytes.count
    connection?.unreleased += bytes.count
  }

  /// The token is good and the handler is in place: what was held takes its way.
  /// - Returns: false while the memory budget has no room for it; try again.
  func releaseHeld(_ budget: MemoryBudget?) -> Bool {
    guard let gate, !gate.isOpen, let connection else { return true }
    let bytes = gate.take()
    if bytes.isEmpty {
      gate.open()
      if gate.endHeld { receiveEnd() }
      return true
    }
    // It is counted again on its way.
    receivedBytes &-= bytes.count
    unreleased -= bytes.count
    connection.unreleased -= bytes.count
    // `receive` would hold it again.
    self.gate = nil
    let rest = bytes.withUnsafeBytes { bytes in receive(bytes, budget: budget).map { Array($0) } }
    guard !isClosed else { return true }
    self.gate = gate
    if let rest {
      receivedBytes &+= rest.count
      unreleased += rest.count
      connection.unreleased += rest.count
      gate.putBack(rest)
      return false
    }
    gate.open()
    if gate.endHeld { receiveEnd() }
    return true
  }
}
