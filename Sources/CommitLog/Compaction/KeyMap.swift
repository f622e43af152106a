/// Key → offset of its newest record, in one block of memory that never grows.
///
/// The keys themselves are kept and compared: two keys with the same hash are still two keys, so no
/// collision, by chance or by malice, can make compaction take one key's record for another's. That
/// costs the keys' bytes where Kafka keeps 16 bytes of a digest; what does not fit waits for the next
/// round. The hash is the standard library's, seeded at random for each process.
///
/// An eighth of the memory is a table of places (open addressing, at most 3/4 full), the rest entries
/// of 16 bytes and the key, rounded up to 8. Memory that was never touched costs nothing, so a small
/// partition's round is small. Confined to one thread at a time.
struct KeyMap: ~Copyable {
  private static let entrySize = 16
  private static let unit = 8

  private let block: UnsafeMutableRawPointer
  /// Slots of the table; a power of two. A slot is 0 or 1 + an entry's place in units.
  private let slots: Int
  /// Where entries begin and end, in bytes of the block.
  private let start: Int
  private let capacity: Int
  private var used: Int
  private(set) var count = 0
  /// Places that are asked for soon; see `expect`.
  private let ahead: UnsafeMutablePointer<Int>
  private var expected = 0
  /// So that what `expect` reads counts as used.
  private var touched: Int64 = 0
  /// Deliberate defect: believes the hash, and little of it.
  private let trustsHash: Bool

  /// - Parameter memory: bytes, all in all; at least 1 KiB is taken.
  init(memory: Int, trustsHash: Bool = false) {
    let memory = max(memory, 1024)
    var slots = 16
    while slots * 2 * MemoryLayout<UInt32>.size <= memory / 8 { slots *= 2 }
    self.slots = slots
    start = slots * MemoryLayout<UInt32>.size
    // Places are 32 bits.
    capacity = min(memory, Int(UInt32.max - 1) * Self.unit)
    used = start
    self.trustsHash = trustsHash
    // The kernel gives the pages behind the table when they are touched.
    block = .allocate(byteCount: capacity + Self.reach, alignment: 16)
    ahead = .allocate(capacity: Self.group)
    ahead.initialize(repeating: 0, count: Self.group)
    block.initializeMemory(as: UInt8.self, repeating: 0, count: start)
  }

  deinit {
    block.deallocate()
    ahead.deallocate()
  }

  var isEmpty: Bool { count == 0 }

  /// Whether an empty map would take the key.
  func fits(_ key: UnsafeRawBufferPointer) -> Bool { Self.size(key) <= capacity - start }

  private static func size(_ key: UnsafeRawBufferPointer) -> Int {
    entrySize + (key.count + unit - 1) / unit * unit
  }

  /// Notes that `key` has a record at `offset`; the highest offset counts. False when there is no room
  /// for another key: nothing has changed.
  mutating func note(_ key: UnsafeRawBufferPointer, offset: Int64) -> Bool {
    let hash = hash(key)
    var slot = hash & (slots - 1)
    while let entry = entry(inSlot: slot) {
      if matches(entry, hash, key) {
        let known = entry.load(as: Int64.self)
        if offset > known { entry.storeBytes(of: offset, as: Int64.self) }
        return true
      }
      slot = (slot + 1) & (slots - 1)
    }
    let size = Self.size(key)
    guard count < slots / 4 * 3, size <= capacity - used, let length = UInt32(exactly: key.count) else {
      return false
    }
    let entry = block + used
    entry.storeBytes(of: offset, as: Int64.self)
    entry.storeBytes(of: UInt32(truncatingIfNeeded: hash), toByteOffset: 8, as: UInt32.self)
    entry.storeBytes(of: length, toByteOffset: 12, as: UInt32.self)
    if let bytes = key.baseAddress { (entry + Self.entrySize).copyMemory(from: bytes, byteCount: key.count) }
    block.storeBytes(
      of: UInt32(truncatingIfNeeded: (used - start) / Self.unit + 1), toByteOffset: slot * 4, as: UInt32.self)
    used += size
    count += 1
    return true
  }

  /// The offset of the newest known record with `key`.
  func newest(_ key: UnsafeRawBufferPointer) -> Int64? {
    let hash = hash(key)
    var slot = hash & (slots - 1)
    while let entry = entry(inSlot: slot) {
      if matches(entry, hash, key) { return entry.load(as: Int64.self) }
      slot = (slot + 1) & (slots - 1)
    }
    return nil
  }

  // MARK: Looking ahead

  /// So many keys are fetched at once.
  private static let group = 32
  /// How far beyond its beginning an entry is fetched.
  private static let reach = 32

  /// So large that the processor waits for the memory at each key: `expect` pays. (Never more than half of the room,
  /// so that tests with little memory go this way, too.)
  var isLarge: Bool { used > min(2 << 20, capacity / 2) }

  /// The key is asked for, or noted, soon. A map of many keys lies in no cache: one key after the other, most of the
  /// time is spent waiting for its slot and then for its entry. Asked for in groups, they come side by side.
  mutating func expect(_ key: UnsafeRawBufferPointer) {
    ahead[expected] = hash(key) & (slots - 1)
    expected += 1
    if expected == Self.group { fetch() }
  }

  private mutating func fetch() {
    expected = 0
    for at in 0..<Self.group {
      ahead[at] = Int(block.load(fromByteOffset: ahead[at] * 4, as: UInt32.self))
    }
    var sum: Int64 = 0
    for at in 0..<Self.group {
      // An empty slot reads the first entry's place: cheaper than a branch.
      let entry = block + start + (max(ahead[at], 1) - 1) * Self.unit
      sum &+= entry.load(as: Int64.self) &+ entry.load(fromByteOffset: Self.reach - 8, as: Int64.self)
    }
    touched &+= sum
  }

  private func entry(inSlot slot: Int) -> UnsafeMutableRawPointer? {
    let place = block.load(fromByteOffset: slot * 4, as: UInt32.self)
    return place == 0 ? nil : block + start + (Int(place) - 1) * Self.unit
  }

  private func matches(
    _ entry: UnsafeMutableRawPointer, _ hash: Int, _ key: UnsafeRawBufferPointer
  ) -> Bool {
    guard entry.load(fromByteOffset: 8, as: UInt32.self) == UInt32(truncatingIfNeeded: hash) else {
      return false
    }
    if trustsHash { return true }
    guard entry.load(fromByteOffset: 12, as: UInt32.self) == UInt32(exactly: key.count) else { return false }
    return isEqual(key, entry + Self.entrySize)
  }

  private func isEqual(_ key: UnsafeRawBufferPointer, _ stored: UnsafeMutableRawPointer) -> Bool {
    var index = 0
    while index + 8 <= key.count {
      let a = key.loadUnaligned(fromByteOffset: index, as: UInt64.self)
      guard a == stored.load(fromByteOffset: index, as: UInt64.self) else { return false }
      index += 8
    }
    while index < key.count {
      guard key[index] == stored.load(fromByteOffset: index, as: UInt8.self) else { return false }
      index += 1
    }
    return true
  }

  private func hash(_ key: UnsafeRawBufferPointer) -> Int {
    // The defect makes collisions likely, and the same in every process.
    if trustsHash { return key.reduce(key.count) { $0 &+ Int($1) } & 7 }
    var hasher = Hasher()
    hasher.combine(bytes: key)
    return hasher.finalize() & Int.max
  }
}
