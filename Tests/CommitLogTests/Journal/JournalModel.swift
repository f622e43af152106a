import CommitLog
import Simulation
import SkeinCore

/// What the schedule found to be wrong.
struct Violation: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// The shadow model: what was written, synced and recycled, as plain lists. Shares no code with the
/// journal; payloads are compared byte by byte.
struct JournalModel {
  struct Item: Equatable {
    var kind: JournalEntry.Kind
    var key: TopicPartition
    var payload: [UInt8]
    var endOffset: Int64
  }

  /// Everything of this ring's history that may still come back, oldest first.
  var items: [Item] = []
  /// How many of them a successful sync covers.
  var synced = 0
  /// How many of them the caller gave back.
  var recycled = 0
  /// Journal positions after each synced group, with the number of items before them.
  var boundaries: [(position: JournalPosition, count: Int)] = []

  /// Compares what came back; afterwards the history ends where recovery ended.
  mutating func check(_ recovered: [Item], isDamaged: Bool = false) throws {
    guard let first = recovered.first else {
      guard synced <= recycled else { throw Violation("all of \(synced - recycled) synced entries lost") }
      items.removeLast(items.count - synced)
      return
    }
    guard let start = items.firstIndex(of: first) else {
      throw Violation("an entry that was never written: \(first.key)")
    }
    guard start <= recycled else { throw Violation("entries \(recycled)..<\(start) lost at the head") }
    let end = start + recovered.count
    guard end <= items.count else { throw Violation("more entries than were written") }
    for index in start..<end where items[index] != recovered[index - start] {
      throw Violation("entry \(index) of \(start)..<\(end) is altered, missing or out of order")
    }
    guard end >= synced else { throw Violation("synced entries \(end)..<\(synced) lost at the tail") }
    items.removeLast(items.count - end)
    synced = end
    recycled = min(recycled, end)
    boundaries.removeAll { $0.count > end }
  }
}

/// Payloads that prove themselves: an id, the key, random bytes, and a checksum of all of it.
enum TestPayload {
  static let size = 32

  static func bytes(id: UInt64, key: TopicPartition, body: Int, random: SeededRandom) -> [UInt8] {
    var words: [UInt64] = [id, key.topic.high, key.topic.low, UInt64(UInt32(bitPattern: key.partition))]
    for _ in 0..<(body + 7) / 8 { words.append(random.next()) }
    var out = words.withUnsafeBytes { Array($0.prefix(28 + body)) }
    withUnsafeBytes(of: CRC32C.checksum(out).littleEndian) { out.append(contentsOf: $0) }
    return out
  }

  /// The check that the log makes with frame and batch.
  static let verify: @Sendable (TopicPartition, UnsafeRawBufferPointer) -> Bool = { key, bytes in
    guard bytes.count >= size else { return false }
    let stored = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: bytes.count - 4, as: UInt32.self))
    return stored == CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count - 4)]))
      && UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)) == key.topic.high
      && UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)) == key.topic.low
      && Int32(littleEndian: bytes.loadUnaligned(fromByteOffset: 24, as: Int32.self)) == key.partition
  }
}

/// A journal on a simulated disk beside its model.
final class JournalRig {
  let disk: SimulatedDisk
  let random: SeededRandom
  var configuration: JournalConfiguration
  var journal: Journal?
  var model = JournalModel()
  var corruptions: [JournalCorruption] = []
  var torn = false
  private var nextID: UInt64 = 1
  private let keys: [TopicPartition]

  init(
    seed: UInt64, fileSize: Int64 = 8192, fileCount: Int = 3, blockSize: Int64 = 512, partitions: Int = 4,
    breakage: JournalConfiguration.Breakage = []
  ) {
    random = SeededRandom(seed: seed)
    disk = SimulatedDisk(seed: random.next())
    configuration = JournalConfiguration(
      fileSize: fileSize, fileCount: fileCount, blockSize: blockSize, verifyBatch: TestPayload.verify)
    configuration.breakage = breakage
    let random = random
    keys = (0..<partitions).map { TopicPartition(topic: random.topicID(), partition: Int32($0)) }
  }

  /// Opens, and compares what comes back.
  func open(isDamaged: Bool = false) throws {
    journal = nil
    let (journal, recovery) = try Journal.open(
      disk: disk, directory: "journal", configuration: configuration, random: random)
    let items = try Self.replay(recovery)
    corruptions = recovery.corruptions
    torn = recovery.torn
    if !isDamaged {
      guard corruptions.isEmpty else {
        throw Violation("corruption reported on a healthy disk: \(corruptions)")
      }
      try model.check(items)
    }
    self.journal = journal
    // What was recovered is durable now and may be recycled as a whole.
    model.boundaries = [(recovery.end, model.items.count)]
  }

  static func replay(_ recovery: JournalRecovery) throws -> [JournalModel.Item] {
    var items: [JournalModel.Item] = []
    try recovery.replay { (entry, _) throws(LogError) in
      items.append(
        JournalModel.Item(
          kind: entry.kind, key: entry.key, payload: entry.parts.flatMap(\.array), endOffset: entry.endOffset)
      )
    }
    return items
  }

  func makeGroup(_ count: Int, largestBody: Int) -> [JournalModel.Item] {
    (0..<count).map { _ in
      let key = keys[random.below(keys.count)]
      let kind: JournalEntry.Kind = random.chance(80) ? .batch : JournalEntry.Kind.allCases[random.below(5)]
      let body = random.chance(50) ? random.below(64) : random.below(largestBody + 1)
      nextID += 1
      return JournalModel.Item(
        kind: kind, key: key,
        payload: TestPayload.bytes(id: nextID, key: key, body: body, random: random),
        endOffset: Int64(nextID))
    }
  }

  /// Writes a group; the model knows of it before the journal does.
  @discardableResult
  func write(_ group: [JournalModel.Item]) throws -> JournalPosition {
    let before = model.items.count
    model.items += group
    do {
      return try journal!.write(group.map(entry))
    } catch {
      if case .journalFull = error { model.items.removeLast(model.items.count - before) }
      throw error
    }
  }

  func sync() throws {
    try journal!.sync()
    model.synced = model.items.count
    model.boundaries.append((journal!.written, model.items.count))
  }

  /// Gives back everything up to one of the synced group ends.
  func recycle(_ boundary: (position: JournalPosition, count: Int)) throws {
    try journal!.recycle(through: boundary.position)
    model.recycled = max(model.recycled, boundary.count)
    model.boundaries.removeAll { $0.count <= boundary.count }
  }

  private func entry(_ item: JournalModel.Item) -> JournalEntry {
    // Cut at random places, as frame and batch are.
    let cut = min(item.payload.count, random.below(300))
    let parts = [Array(item.payload[..<cut]), Array(item.payload[cut...])].map { SharedBytes($0) }
    return JournalEntry(kind: item.kind, key: item.key, parts: parts, endOffset: item.endOffset)
  }
}
