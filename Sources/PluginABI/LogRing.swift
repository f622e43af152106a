internal import Glibc
internal import Synchronization

/// What a plug-in writes to the log, on its way to whoever drains it: 64 lines of at most 4,096 bytes.
///
/// `write` is called by any thread of the plug-in and never waits: a full ring, or more than 100 lines in a second, drops
/// the line and counts it. `drain` is called by one thread at a time.
package final class LogRing: @unchecked Sendable {
  // Safe between threads: a slot's sequence (atomic) says whose it is, writer's or reader's.
  package static let lineLimit = 4096
  package static let linesPerSecond = 100
  private static let capacity = 64
  private static let stride = 32 + lineLimit

  package struct Line: Sendable, Hashable {
    package var instance: UInt64
    /// SKEIN_LOG_DEBUG to SKEIN_LOG_ERROR.
    package var level: Int32
    package var message: String
    package init(instance: UInt64, level: Int32, message: String) {
      self.instance = instance
      self.level = level
      self.message = message
    }
  }

  private let memory: UnsafeMutableRawPointer
  private let sequences: UnsafeMutablePointer<Atomic<UInt64>>
  private let tail = Atomic<UInt64>(0)
  private var head: UInt64 = 0
  private let second = Atomic<Int64>(0)
  private let inSecond = Atomic<Int>(0)
  private let lost = Atomic<UInt64>(0)

  package init() {
    memory = .allocate(byteCount: Self.capacity * Self.stride, alignment: 16)
    sequences = .allocate(capacity: Self.capacity)
    for i in 0..<Self.capacity { (sequences + i).initialize(to: Atomic(UInt64(i))) }
  }

  deinit {
    memory.deallocate()
    sequences.deinitialize(count: Self.capacity)
    sequences.deallocate()
  }

  /// Lines that were dropped since the beginning.
  package var dropped: UInt64 { lost.load(ordering: .relaxed) }

  /// - Returns: whether the line is in the ring.
  @discardableResult
  package func write(instance: UInt64, level: Int32, message: UnsafeRawBufferPointer) -> Bool {
    guard isWithinRate() else { return drop() }
    var position = tail.load(ordering: .relaxed)
    while true {
      let index = Int(position % UInt64(Self.capacity))
      let sequence = sequences[index].load(ordering: .acquiring)
      if sequence == position {
        let (won, seen) = tail.compareExchange(expected: position, desired: position &+ 1, ordering: .relaxed)
        guard won else {
          position = seen
          continue
        }
        fill(index, instance, level, message)
        sequences[index].store(position &+ 1, ordering: .releasing)
        return true
      }
      guard sequence > position else { return drop() }
      position = tail.load(ordering: .relaxed)
    }
  }

  /// The oldest line, if there is one.
  package func next() -> Line? {
    let index = Int(head % UInt64(Self.capacity))
    guard sequences[index].load(ordering: .acquiring) == head &+ 1 else { return nil }
    let slot = memory + index * Self.stride
    let count = slot.load(fromByteOffset: 12, as: Int32.self)
    let line = Line(
      instance: slot.load(as: UInt64.self), level: slot.load(fromByteOffset: 8, as: Int32.self),
      message: String(decoding: UnsafeRawBufferPointer(start: slot + 32, count: Int(count)), as: UTF8.self))
    sequences[index].store(head &+ UInt64(Self.capacity), ordering: .releasing)
    head &+= 1
    return line
  }

  private func fill(_ index: Int, _ instance: UInt64, _ level: Int32, _ message: UnsafeRawBufferPointer) {
    let slot = memory + index * Self.stride
    let count = min(message.count, Self.lineLimit)
    slot.storeBytes(of: instance, as: UInt64.self)
    slot.storeBytes(of: level, toByteOffset: 8, as: Int32.self)
    slot.storeBytes(of: Int32(count), toByteOffset: 12, as: Int32.self)
    if let base = message.baseAddress { (slot + 32).copyMemory(from: base, byteCount: count) }
  }

  private func isWithinRate() -> Bool {
    let now = PluginClock.now / 1_000_000_000
    let seen = second.load(ordering: .relaxed)
    if seen != now, second.compareExchange(expected: seen, desired: now, ordering: .relaxed).exchanged {
      inSecond.store(0, ordering: .relaxed)
    }
    return inSecond.wrappingAdd(1, ordering: .relaxed).newValue <= Self.linesPerSecond
  }

  private func drop() -> Bool {
    lost.wrappingAdd(1, ordering: .relaxed)
    return false
  }
}
