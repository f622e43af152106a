package import SkeinCore

/// Bytes that grow at their end, in one piece; what was appended stays where it is relative to the start.
package struct ByteStack: ~Copyable {
  private var storage: SharedBytes.Storage? {
    didSet {
      base = storage?.base
      capacity = storage?.capacity ?? 0
    }
  }
  /// Of `storage`, so that appending touches no reference count.
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  package private(set) var count = 0
  private let initialCapacity: Int

  package init(capacity: Int) { initialCapacity = max(64, capacity) }

  package mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress, bytes.count > 0 else { return }
    copyBytes(from: source, to: extend(by: bytes.count), count: bytes.count)
  }

  /// Room for `more` bytes, which count at once: the caller writes them.
  @inline(__always)
  mutating func extend(by more: Int) -> UnsafeMutableRawPointer {
    let start: UnsafeMutableRawPointer
    if let base, capacity - count >= more { start = base + count } else { start = grow(more) }
    count += more
    return start
  }

  private mutating func grow(_ more: Int) -> UnsafeMutableRawPointer {
    let larger = SharedBytes.Storage(
      capacity: max(count + more, storage.map { $0.capacity * 2 } ?? initialCapacity))
    if let base { larger.base.copyMemory(from: base, byteCount: count) }
    storage = larger
    return larger.base + count
  }

  /// Empties it and keeps its memory, unless somebody else still has that.
  package mutating func recycle() {
    count = 0
    if !isKnownUniquelyReferenced(&storage) { storage = nil }
  }

  /// What is there, shared: nothing may be appended after this.
  package var bytes: SharedBytes { storage.map { SharedBytes($0, offset: 0, count: count) } ?? .empty }

  /// The first byte; nil while nothing was appended.
  var start: UnsafeRawPointer? { base.map { UnsafeRawPointer($0) } }
}

/// Copies bytes that do not overlap. Keys are mostly short: those of 8 to 16 bytes take two moves and no call.
@inline(__always)
func copyBytes(from source: UnsafeRawPointer, to target: UnsafeMutableRawPointer, count: Int) {
  if count >= 8, count <= 16 {
    let last = count - 8
    let (head, tail) = (
      source.loadUnaligned(as: UInt64.self), source.loadUnaligned(fromByteOffset: last, as: UInt64.self)
    )
    target.storeBytes(of: head, as: UInt64.self)
    target.storeBytes(of: tail, toByteOffset: last, as: UInt64.self)
  } else if count > 0 {
    target.copyMemory(from: source, byteCount: count)
  }
}
