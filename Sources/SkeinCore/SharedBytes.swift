/// A reference-counted, immutable-by-convention run of bytes, and a window into one.
///
/// This is the one currency in which payload bytes travel through Skein: the transport fills
/// it from the socket, the log writes it to disk and keeps it as its tail cache, and readers
/// send the very same bytes out again. Slicing never copies.
///
/// **Ownership.** `Storage` frees its memory with the last reference and then gives back what
/// it had reserved of a `MemoryBudget`. **Threading.** A storage may be read from any thread.
/// It may be written only by its creator, before it is shared; after that its bytes never change.
public struct SharedBytes: Sendable {
  /// The memory behind one or more slices.
  ///
  /// `@unchecked Sendable`: written only by its creator before it is shared, read-only afterwards.
  public final class Storage: @unchecked Sendable {
    public let base: UnsafeMutableRawPointer
    public let capacity: Int
    private let reservation: MemoryBudget.Reservation?

    /// Allocates `capacity` bytes (uninitialised), 16-byte aligned.
    /// - Parameter reservation: what these bytes were charged to; given back on deallocation.
    public init(capacity: Int, reservation: consuming MemoryBudget.Reservation? = nil) {
      self.base = .allocate(byteCount: max(capacity, 1), alignment: 16)
      self.capacity = capacity
      self.reservation = reservation
    }

    deinit { base.deallocate() }
  }

  public let storage: Storage
  public let offset: Int
  public let count: Int

  /// The window `offset ..< offset + count` of `storage`. Traps outside it: callers check lengths
  /// that come from outside before they slice.
  @inlinable
  public init(_ storage: Storage, offset: Int, count: Int) {
    precondition(offset >= 0 && count >= 0 && offset <= storage.capacity - count)
    self.storage = storage
    self.offset = offset
    self.count = count
  }

  /// Copies `bytes`.
  public init(copying bytes: UnsafeRawBufferPointer) {
    let storage = Storage(capacity: bytes.count)
    if let base = bytes.baseAddress { storage.base.copyMemory(from: base, byteCount: bytes.count) }
    self.init(storage, offset: 0, count: bytes.count)
  }

  /// Copies `bytes`.
  public init(_ bytes: [UInt8]) {
    self = bytes.withUnsafeBytes { SharedBytes(copying: $0) }
  }

  public static let empty = SharedBytes(Storage(capacity: 0), offset: 0, count: 0)

  @inlinable public var isEmpty: Bool { count == 0 }

  /// The bytes; valid inside `body` only.
  @inlinable
  public func withUnsafeBytes<R, E: Error>(
    _ body: (UnsafeRawBufferPointer) throws(E) -> R
  ) throws(E) -> R {
    try withExtendedLifetime(storage) { () throws(E) -> R in
      try body(UnsafeRawBufferPointer(start: UnsafeRawPointer(storage.base + offset), count: count))
    }
  }

  /// The bytes for in-place stamping. Only the sole owner may call it, before the value is shared
  /// (the log stamps base offset and leader epoch into a batch that it has just received).
  @inlinable
  public func withUnsafeMutableBytesBeforeSharing<R, E: Error>(
    _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
  ) throws(E) -> R {
    try withExtendedLifetime(storage) { () throws(E) -> R in
      try body(UnsafeMutableRawBufferPointer(start: storage.base + offset, count: count))
    }
  }

  /// A sub-window, in bytes relative to this one. Traps outside it.
  @inlinable
  public func slice(_ range: Range<Int>) -> SharedBytes {
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    return SharedBytes(storage, offset: offset + range.lowerBound, count: range.count)
  }

  /// A copy as an array; for tests and cold paths.
  public var array: [UInt8] { withUnsafeBytes { Array($0) } }
}

extension SharedBytes: Equatable {
  /// Equal contents, wherever they lie.
  public static func == (a: SharedBytes, b: SharedBytes) -> Bool {
    a.count == b.count && a.withUnsafeBytes { x in b.withUnsafeBytes { y in x.elementsEqual(y) } }
  }
}
