import CSkeinPlugin
import Glibc
import PluginPackage

/// What the partitioner checks try: a loaded plug-in, or in our own tests a built-in, which keeps the kit honest.
package protocol PartitionerSubject {
  var isPure: Bool { get }
  /// Places a batch; the answers, one a record, -1 for any.
  func place(_ records: RecordSet) throws -> [Int32]
}

/// Records of a batch, as a check writes them down.
package struct RecordSet: Sendable {
  package var partitions: Int32
  package var weights: [UInt32]?
  /// nil: no key.
  package var keys: [[UInt8]?]
  /// A row for each record; empty rows where the manifest names no header.
  package var headers: [[[UInt8]?]]
  package var timestamps: [Int64]?
  package var topic: [UInt8] = Array(1...16)

  package init(
    partitions: Int32, keys: [[UInt8]?], weights: [UInt32]? = nil, headers: [[[UInt8]?]] = [],
    timestamps: [Int64]? = nil
  ) {
    self.partitions = partitions
    self.keys = keys
    self.weights = weights
    self.headers = headers
    self.timestamps = timestamps
  }

  /// The records at `indices`, in that order.
  func picked(_ indices: some Sequence<Int>) -> RecordSet {
    var set = self
    set.keys = indices.map { keys[$0] }
    set.headers = headers.isEmpty ? [] : indices.map { headers[$0] }
    set.timestamps = timestamps.map { all in indices.map { all[$0] } }
    return set
  }
}

/// One instance of a loaded partitioner.
///
/// `@unchecked Sendable`: everything is written once, in `init`; `batch` may be called from any thread.
final class PartitionerUnderTest: PartitionerSubject, @unchecked Sendable {
  let instance: PluginInstance
  let table: skein_partitioner
  let isPure: Bool
  private let doing: (String) -> Void

  init(_ instance: PluginInstance, doing: @escaping (String) -> Void) throws {
    self.instance = instance
    self.doing = doing
    table = try instance.plugin.partitioner()
    isPure = table.flags & UInt32(SKEIN_PARTITIONER_PURE) != 0
  }

  convenience init(_ context: CheckContext, _ plugin: PluginUnderTest, config: String? = nil) throws {
    try self.init(try context.create(plugin, .partitioner, config: config), doing: context.doing)
  }

  func place(_ records: RecordSet) throws -> [Int32] {
    doing("batch of \(records.keys.count) record(s) over \(records.partitions) partitions")
    return try NativeBatch(records).run(table, instance.pointer)
  }

  /// Without saying so, for threads and clocks.
  func run(_ batch: NativeBatch) throws -> [Int32] { try batch.run(table, instance.pointer) }
}

/// A batch as the ABI wants it. The keys stand one behind the other as in a request, with nothing between them; `out` has
/// marked places before and behind it.
final class NativeBatch {
  /// What `out` holds before the call: no partition, and not -1.
  static let untouched: Int32 = -0x5eed
  private static let margin = 64

  let count: Int
  private let arena: UnsafeMutablePointer<UInt8>
  private let keys: UnsafeMutablePointer<skein_bytes>
  private let headers: UnsafeMutablePointer<skein_bytes>
  private let headerNames: Int
  private let timestamps: UnsafeMutablePointer<Int64>?
  private let weights: UnsafeMutablePointer<UInt32>?
  private let out: UnsafeMutablePointer<Int32>
  private let partitions: Int32
  private let topic: [UInt8]
  private let arenaBytes: Int
  private let before: UInt64

  init(_ set: RecordSet) {
    count = set.keys.count
    partitions = set.partitions
    topic = set.topic
    headerNames = set.headers.first?.count ?? 0
    let rows = set.headers.flatMap { $0 }
    let bytes = set.keys.reduce(0) { $0 + ($1?.count ?? 0) } + rows.reduce(0) { $0 + ($1?.count ?? 0) }
    arenaBytes = bytes
    let arena = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, bytes))
    self.arena = arena
    keys = .allocate(capacity: max(1, count))
    headers = .allocate(capacity: max(1, rows.count))
    var at = 0
    let put = { (value: [UInt8]?) -> skein_bytes in
      guard let value else { return skein_bytes(ptr: nil, len: 0) }
      value.withUnsafeBufferPointer {
        if let base = $0.baseAddress { (arena + at).update(from: base, count: $0.count) }
      }
      defer { at += value.count }
      return skein_bytes(ptr: arena + at, len: value.count)
    }
    for (index, key) in set.keys.enumerated() { keys[index] = put(key) }
    for (index, value) in rows.enumerated() { headers[index] = put(value) }
    timestamps = set.timestamps.map(Self.copy)
    weights = set.weights.map(Self.copy)
    out = .allocate(capacity: count + 2 * Self.margin)
    before = Self.digest(arena, bytes)
  }

  deinit {
    arena.deallocate()
    keys.deallocate()
    headers.deallocate()
    timestamps?.deallocate()
    weights?.deallocate()
    out.deallocate()
  }

  private static func copy<T>(_ values: [T]) -> UnsafeMutablePointer<T> {
    let copy = UnsafeMutablePointer<T>.allocate(capacity: max(1, values.count))
    for (index, value) in values.enumerated() { (copy + index).initialize(to: value) }
    return copy
  }

  private static func digest(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int) -> UInt64 {
    Digest64.of(UnsafeRawBufferPointer(start: bytes, count: count))
  }

  /// Calls `batch` and checks what holds for every call: each answer set, nothing written beside them, the input left
  /// alone. Whether the answers are in range is for the check.
  func run(_ table: skein_partitioner, _ pointer: UnsafeMutableRawPointer?) throws -> [Int32] {
    call(table, pointer)
    return Array(UnsafeBufferPointer(start: out + Self.margin, count: count))
  }

  /// The call alone, for clocks.
  func call(_ table: skein_partitioner, _ pointer: UnsafeMutableRawPointer?) {
    out.update(repeating: Self.untouched, count: count + 2 * Self.margin)
    var view = skein_topic()
    view.size = UInt32(MemoryLayout<skein_topic>.size)
    view.partitions = partitions
    view.weights = weights.map { UnsafePointer($0) }
    withUnsafeMutableBytes(of: &view.id) { $0.copyBytes(from: topic.prefix(16)) }
    var records = skein_records()
    records.size = UInt32(MemoryLayout<skein_records>.size)
    records.count = UInt32(count)
    records.keys = UnsafePointer(keys)
    records.timestamps = timestamps.map { UnsafePointer($0) }
    records.header_names = UInt32(headerNames)
    records.headers = headerNames == 0 ? nil : UnsafePointer(headers)
    table.batch(pointer, &view, &records, out + Self.margin)
  }

  /// Whether the places beside `out` are as they were.
  var isOutIntact: Bool {
    (0..<Self.margin).allSatisfy {
      out[$0] == Self.untouched && out[count + Self.margin + $0] == Self.untouched
    }
  }

  var isInputIntact: Bool { Self.digest(arena, arenaBytes) == before }
}

/// FNV-1a over words, for telling whether two runs gave the same.
enum Digest64 {
  static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
  static func text(_ values: [Int32]) -> String {
    String(values.withUnsafeBytes { of($0) }, radix: 16)
  }
}
