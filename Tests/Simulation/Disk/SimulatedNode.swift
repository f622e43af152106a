import CommitLog

/// A file or folder of the simulated disk: what a running system sees, what the medium holds, and the
/// changes in between, oldest first. Guarded by the disk's lock.
final class SimulatedNode {
  enum Change {
    case write(offset: Int, bytes: [UInt8])
    case resize(Int)
  }

  /// A change of a folder. A rename between two folders has the same number in both.
  struct NameChange {
    var number: Int
    /// What the names mean afterwards; nil takes the name away.
    var names: [String: Int?]
  }

  let isDirectory: Bool
  /// What reads see: the page cache.
  var content: [UInt8] = []
  /// What survives a power cut for certain.
  var durable: [UInt8] = []
  var changes: [Change] = []
  /// Bytes reserved by `allocate`.
  var reserved = 0

  var names: [String: Int] = [:]
  var durableNames: [String: Int] = [:]
  var nameChanges: [NameChange] = []

  init(isDirectory: Bool) { self.isDirectory = isDirectory }

  func copy() -> SimulatedNode {
    let other = SimulatedNode(isDirectory: isDirectory)
    other.content = content
    other.durable = durable
    other.changes = changes
    other.reserved = reserved
    other.names = names
    other.durableNames = durableNames
    other.nameChanges = nameChanges
    return other
  }

  /// Bytes of disk that it takes.
  var charge: Int { max(content.count, reserved) }

  // MARK: Files

  func write(_ bytes: [UInt8], at offset: Int) {
    Self.put(bytes, at: offset, into: &content)
    changes.append(.write(offset: offset, bytes: bytes))
  }

  func resize(_ size: Int) {
    Self.resize(&content, size)
    reserved = min(reserved, size)
    changes.append(.resize(size))
  }

  /// Writes what is dirty, and only that: what a failed sync lost stays lost.
  func sync() {
    for change in changes {
      switch change {
      case .resize(let size): Self.resize(&durable, size)
      case .write(let offset, let bytes): Self.put(bytes, at: offset, into: &durable)
      }
    }
    changes.removeAll()
  }

  /// A sync that reports an error: some of it reached the medium, nothing of it is dirty any more, and
  /// reads go on showing all of it (the behaviour of Linux that R56 is about).
  func failSync(_ random: SeededRandom) {
    apply(random, lossy: true)
    changes.removeAll()
  }

  /// Power fails: any part of the unsynced changes has reached the medium.
  func cutPower(_ random: SeededRandom) {
    switch random.below(4) {
    case 0: break
    case 1: apply(random, lossy: false)
    default: apply(random, lossy: true)
    }
    settle()
  }

  /// The first `count` unsynced bytes, in the order of writing, have reached the medium.
  func cutPower(keepingFirst count: inout Int) {
    for change in changes {
      guard case .write(let offset, let bytes) = change else { continue }
      Self.put(Array(bytes.prefix(count)), at: offset, into: &durable)
      count -= min(count, bytes.count)
    }
    settle()
  }

  private func settle() {
    content = durable
    changes.removeAll()
    reserved = 0
  }

  private func apply(_ random: SeededRandom, lossy: Bool) {
    for change in changes {
      if lossy && random.chance(40) { continue }
      switch change {
      case .resize(let size): Self.resize(&durable, size)
      case .write(let offset, let bytes):
        // The length is metadata of its own: it may be kept or lost whatever becomes of the bytes.
        let end = offset + bytes.count
        if end > durable.count {
          if lossy && random.chance(50) {
            tear(bytes, offset, random, limit: durable.count)
            continue
          }
          Self.resize(&durable, end)
        }
        if lossy && random.chance(60) {
          tear(bytes, offset, random, limit: durable.count)
        } else {
          Self.put(bytes, at: offset, into: &durable)
        }
      }
    }
  }

  /// Keeps any of the write's sectors, and of some only the first bytes.
  private func tear(_ bytes: [UInt8], _ offset: Int, _ random: SeededRandom, limit: Int) {
    let keep = random.below(101)
    let byBytes = random.chance(25)
    var at = offset
    while at < offset + bytes.count {
      let sectorEnd = min((at / 512 + 1) * 512, offset + bytes.count)
      var end = random.chance(keep) ? sectorEnd : at
      if byBytes && random.chance(30) { end = at + random.below(sectorEnd - at + 1) }
      end = min(end, limit)
      if end > at { Self.put(Array(bytes[at - offset..<end - offset]), at: at, into: &durable) }
      at = sectorEnd
    }
  }

  static func put(_ bytes: [UInt8], at offset: Int, into target: inout [UInt8]) {
    if bytes.isEmpty { return }
    if target.count < offset + bytes.count { resize(&target, offset + bytes.count) }
    target.withUnsafeMutableBytes { target in
      bytes.withUnsafeBytes {
        target.baseAddress!.advanced(by: offset).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
      }
    }
  }

  static func resize(_ target: inout [UInt8], _ size: Int) {
    if size < target.count {
      target.removeLast(target.count - size)
    } else if size > target.count {
      // Not `repeatElement`: without optimisation that costs a hundred times as much.
      target += [UInt8](repeating: 0, count: size - target.count)
    }
  }

  // MARK: Folders

  func change(_ names: [String: Int?], number: Int) {
    for (name, node) in names { self.names[name] = node }
    nameChanges.append(NameChange(number: number, names: names))
  }

  func syncNames() {
    durableNames = names
    nameChanges.removeAll()
  }

  /// Makes single changes durable, because the other folder of a rename was synced.
  func syncNames(numbers: Set<Int>) {
    for change in nameChanges where numbers.contains(change.number) { keep(change) }
    nameChanges.removeAll { numbers.contains($0.number) }
  }

  /// - Parameter kept: decides per change; a change in two folders has one fate.
  func cutPower(kept: (Int) -> Bool) {
    for change in nameChanges where kept(change.number) { keep(change) }
    names = durableNames
    nameChanges.removeAll()
  }

  private func keep(_ change: NameChange) {
    for (name, node) in change.names { durableNames[name] = node }
  }
}
