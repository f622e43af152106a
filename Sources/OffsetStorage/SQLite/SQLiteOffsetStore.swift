package import CommitLog
package import GroupCoordination
package import MetadataStore
package import SkeinCore
import Synchronization

/// The embedded store: one SQLite database in WAL mode on a `Disk`, synced before each answer.
///
/// All work is done in order by one thread of its own, so no event loop waits for a disk. Commits that come while it works
/// wait together and become one transaction with one sync. It must be closed: until then its thread and files stay.
///
/// **After a disk error** (I/O, failed sync) every call fails until it is opened again. Want of space is different: what
/// met it is undone, and the store goes on.
package final class SQLiteOffsetStore: OffsetStore {
  package struct Configuration: Sendable {
    /// Pages (of 4 KiB) in the write-ahead log after which it is copied into the database.
    package var checkpointPages = 1_000
    /// Commits that may wait; more are refused with OVERLOADED.
    package var queuedCommits = 10_000
    /// Offsets of one transaction, unless a single commit has more.
    package var offsetsPerTransaction = 10_000
    /// False answers without syncing: only for the negative control of the power-cut tests.
    package var isDurable = true

    package init() {}
  }

  private struct Waiting {
    var commit: OffsetDatabase.Commit
    let continuation: CheckedContinuation<Result<Void, Fault>, Never>
  }

  package let name = "sqlite"
  private let worker: SerialWorker<OffsetDatabase>
  private let configuration: Configuration
  private let waiting = Mutex<[Waiting]>([])

  private init(_ worker: SerialWorker<OffsetDatabase>, _ configuration: Configuration) {
    self.worker = worker
    self.configuration = configuration
  }

  /// Opens or creates the store at `path` (its folder must exist), and migrates one of an older version. Beside it come
  /// `path-wal` and `path.lock`.
  /// - Throws: `.unreadable` for a newer version or a damaged file, `.locked`, `.offline`, `.noSpace`.
  package static func open(
    disk: any Disk, path: String, configuration: Configuration = Configuration(), time: any TimeSource,
    random: any RandomSource
  ) async throws(MetadataError) -> SQLiteOffsetStore {
    let worker = SerialWorker<OffsetDatabase>(
      limit: MetadataLimits.queuedCalls, subject: "the offset store sqlite")
    do {
      try await worker.start { () throws(MetadataError) in
        try OffsetDatabase(disk: disk, path: path, configuration: configuration, time: time, random: random)
      }
    } catch {
      await worker.close { _ in }
      throw error
    }
    return SQLiteOffsetStore(worker, configuration)
  }

  package func close() async { await worker.close { _ in } }

  // MARK: OffsetStore

  package func commit(
    _ group: GroupKey, memberEpoch: Int32, _ offsets: [StoredOffset]
  ) async throws(Fault) {
    guard !offsets.isEmpty else { return }
    let commit = OffsetDatabase.Commit(group: group, memberEpoch: memberEpoch, offsets: offsets)
    let result: Result<Void, Fault> = await withCheckedContinuation { continuation in
      enqueue(Waiting(commit: commit, continuation: continuation))
    }
    try result.get()
  }

  package func fetch(
    _ group: GroupKey, _ partitions: [TopicPartition]?
  ) async throws(Fault) -> [StoredOffset] {
    try await perform { (database) throws(MetadataError) in try database.fetch(group, partitions) }
  }

  package func scan(
    tenant: String, after token: String, limit: Int
  ) async throws(Fault) -> StoredOffsetPage {
    let after = token.isEmpty ? nil : ScanToken(token)
    guard token.isEmpty || after != nil else {
      throw Fault(
        .invalidRequest, "the page token is not one of this store",
        violations: [.init(field: "token", description: "take it from the page before")])
    }
    return try await perform { (database) throws(MetadataError) in
      try database.scan(tenant: tenant, after: after, limit: min(max(limit, 1), 1_000))
    }
  }

  package func remove(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) {
    try await perform { (database) throws(MetadataError) in try database.remove(group, partitions) }
  }

  private func perform<R: Sendable>(
    _ body: @escaping @Sendable (OffsetDatabase) throws(MetadataError) -> R
  ) async throws(Fault) -> R {
    do {
      return try await worker.perform(body)
    } catch {
      throw Self.fault(error)
    }
  }

  // MARK: Batches

  private func enqueue(_ commit: Waiting) {
    let count = waiting.withLock { waiting in
      guard waiting.count < configuration.queuedCommits else { return Int.max }
      waiting.append(commit)
      return waiting.count
    }
    if count == 1 { worker.enqueue { [self] in drain($0) } }
    if count == .max {
      commit.continuation.resume(
        returning: .failure(
          Fault(
            .overloaded, "\(configuration.queuedCommits) commits wait for the offset store sqlite already",
            retryAfterMilliseconds: 100)))
    }
  }

  /// On the worker's thread. What comes meanwhile is the next batch.
  private func drain(_ database: OffsetDatabase?) {
    var batch: [Waiting] = []
    let isMore = waiting.withLock { waiting in
      var offsets = 0
      var count = 0
      while count < waiting.count, count == 0 || offsets < configuration.offsetsPerTransaction {
        offsets += waiting[count].commit.offsets.count
        count += 1
      }
      batch = Array(waiting[..<count])
      waiting.removeFirst(count)
      return !waiting.isEmpty
    }
    // Before the answers: whoever commits again at once finds the batch begun or waits for the next.
    if isMore { worker.enqueue { [self] in drain($0) } }
    let outcome: Result<[Fault?], Fault>
    if let database {
      do throws(MetadataError) {
        outcome = .success(try database.commit(batch.map(\.commit)))
      } catch {
        outcome = .failure(Self.fault(error))
      }
    } else {
      outcome = .failure(Fault(.draining, "the offset store sqlite is closed; try another broker"))
    }
    switch outcome {
    case .failure(let fault): for waiting in batch { waiting.continuation.resume(returning: .failure(fault)) }
    case .success(let refusals):
      for (waiting, refusal) in zip(batch, refusals) {
        waiting.continuation.resume(returning: refusal.map { .failure($0) } ?? .success(()))
      }
    }
  }

  static func fault(_ error: MetadataError) -> Fault {
    switch error.kind {
    case .closed: Fault(.draining, "the offset store sqlite is closed; try another broker")
    case .overloaded: Fault(.overloaded, error.message, retryAfterMilliseconds: 100)
    default:
      Fault(
        .offsetStoreUnavailable, error.message, metadata: ["store": "sqlite"], retryAfterMilliseconds: 1_000)
    }
  }
}
