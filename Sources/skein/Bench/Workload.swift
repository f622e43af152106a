import Glibc
import SkeinClient
import SkeinCore

/// Nanoseconds of the monotonic clock.
func monotonicNow() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// Random payloads that no codec can shrink, made once: record *n* is a window into a random block.
struct RandomPayload {
  private let block: [UInt8]
  private let size: Int
  private var at = 0

  init(size: Int) {
    self.size = size
    var state: UInt64 = 0x9e37_79b9_7f4a_7c15
    let words = (max(1 << 20, 0) + size) / 8 + 1
    block = [UInt8](unsafeUninitializedCapacity: words * 8) { buffer, count in
      for word in 0..<words {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        UnsafeMutableRawBufferPointer(buffer).storeBytes(of: state, toByteOffset: word * 8, as: UInt64.self)
      }
      count = words * 8
    }
  }

  mutating func next<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    at = (at + 7919) & ((1 << 20) - 1)
    return try block.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[at..<at + size])) }
  }
}

/// When each record is due. Open loop: latency counts from here, so a stall is not hidden by a
/// sender that waited for it (no coordinated omission).
struct Pace {
  private let start: Int64
  private let interval: Double
  private var count = 0

  /// - Parameter rate: records per second; nil: as fast as possible.
  init(rate: Double?) {
    start = monotonicNow()
    interval = rate.map { 1e9 / $0 } ?? 0
  }

  /// No rate: the next record is due when the sender comes to it, which needs no wait.
  var isClosedLoop: Bool { interval == 0 }

  /// Waits until the next record is due and returns that time.
  mutating func next() async throws -> Int64 {
    guard !isClosedLoop else { return monotonicNow() }
    let due = start + Int64(Double(count) * interval)
    count += 1
    let ahead = due - monotonicNow()
    if ahead > 100_000 { try await Task.sleep(nanoseconds: UInt64(ahead)) }
    return due
  }
}
