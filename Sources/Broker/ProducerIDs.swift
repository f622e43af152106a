import MetadataStore
import SkeinCore
import Synchronization

/// Hands out producer ids, never the same twice: blocks are taken from one key of the metadata store
/// by compare-and-swap (P1); what is left of a block at a stop is never used.
final class ProducerIDs: Sendable {
  static let blockSize: Int64 = 1_000

  private let store: any MetadataStore
  private let key: [UInt8]
  private let block = Mutex<Range<Int64>>(0..<0)
  /// Ids at or above this were never handed out.
  private let ceiling = Atomic<Int64>(0)

  init(store: any MetadataStore, key: [UInt8]) {
    self.store = store
    self.key = key
  }

  /// The next id, without waiting; nil when a block must be fetched first.
  func takeNow() -> Int64? {
    block.withLock { block in
      guard let id = block.first else { return nil }
      block = id + 1..<block.upperBound
      return id
    }
  }

  /// Whether `id` may have been handed out by this cluster.
  func isKnown(_ id: Int64) -> Bool { id > 0 && id < ceiling.load(ordering: .relaxed) }

  func take() async throws -> Int64 {
    while true {
      if let id = takeNow() { return id }
      try await fetchBlock()
    }
  }

  /// Takes one more block. Concurrent calls each take one; none is lost, only ids are skipped.
  func fetchBlock() async throws {
    while true {
      let current = try await store.get(key)
      let start: Int64
      if let current {
        guard let parsed = Int64(String(decoding: current.value, as: UTF8.self)), parsed > 0 else {
          throw Fault(
            .internalError, "the metadata key of producer ids holds no positive number; restore it")
        }
        start = parsed
      } else {
        start = 1
      }
      let end = start + Self.blockSize
      let compare = current.map { Compare.unchanged(key, since: $0.modRevision) } ?? .absent(key)
      let result = try await store.transact(
        Transaction(if: [compare], then: [.put(key: key, value: Array(String(end).utf8))]))
      guard result.succeeded else { continue }
      ceiling.store(end, ordering: .relaxed)
      block.withLock { $0 = start..<end }
      return
    }
  }
}
