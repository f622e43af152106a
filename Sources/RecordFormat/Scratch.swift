/// Memory that a codec works into: grows by need up to a limit, is reused across batches, and is
/// never sized by a number that came from outside.
struct Scratch: ~Copyable {
  /// What codecs keep between batches; more is given back.
  static let keptBytes = 4 * 1024 * 1024

  private(set) var base: UnsafeMutableRawPointer
  private(set) var capacity: Int

  init() {
    capacity = 0
    base = .allocate(byteCount: 1, alignment: 16)
  }

  deinit { base.deallocate() }

  /// Makes room for `needed` bytes, keeping the first `kept`.
  mutating func reserve(_ needed: Int, keeping kept: Int = 0) {
    guard needed > capacity else { return }
    // Nothing to keep: then never hold both at once.
    if kept == 0 { self = Scratch() }
    let larger = UnsafeMutableRawPointer.allocate(byteCount: needed, alignment: 16)
    if kept > 0 { larger.copyMemory(from: base, byteCount: kept) }
    base.deallocate()
    base = larger
    capacity = needed
  }

  /// Gives back the memory when it exceeds `bytes`.
  mutating func shrink(above bytes: Int) {
    if capacity > bytes { self = Scratch() }
  }

  func prefix(_ count: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base, count: count)
  }
}

/// How far a decompressor extends its output when that is full: by four, from 64 KiB, up to the
/// limit. So memory is at most four times what real data has filled.
enum InflateGrowth {
  static let first = 64 * 1024
  static func next(_ capacity: Int, limit: Int) -> Int { min(limit, max(first, capacity * 4)) }
}
