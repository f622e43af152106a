import GroupCoordination
import MetadataStore
import SkeinCore
import Synchronization
import Wire

/// Which store each group keeps its offsets in: records of the metadata store, all of them in memory, and the gate that
/// keeps commits out while that changes.
///
/// A group without a record uses `log`, unless its tenant begins elsewhere: then it is decided with its first commit.
/// Threading: any.
final class StoreChoices: Sendable {
  struct Choice: Sendable {
    var record: OffsetStoreRecord
    var revision: Revision
  }

  /// Where a commit goes.
  enum Route: Sendable {
    case log
    case store(String)
    /// The group has no record, and new ones of its tenant begin in that store.
    case undecided(String)
  }

  private struct State {
    /// By tenant.
    var defaults: [String: Choice] = [:]
    var groups: [GroupKey: Choice] = [:]
    /// Commits and fetches that are under way.
    var underWay: [GroupKey: Int] = [:]
    /// Why nothing of the group is taken now.
    var shut: [GroupKey: Fault] = [:]
    var waiting: [GroupKey: [CheckedContinuation<Void, Never>]] = [:]
  }

  private let state = Mutex(State())
  private let metadata: any MetadataStore
  private let keys: MetadataKeys
  private let time: any TimeSource
  /// Of the broker's configuration.
  let standard: String

  init(metadata: any MetadataStore, keys: MetadataKeys, standard: String, time: any TimeSource) {
    self.metadata = metadata
    self.keys = keys
    self.standard = standard
    self.time = time
  }

  // MARK: Reading

  /// Reads every record. Before anything is asked.
  func load() async throws {
    var from = keys.tenants
    let all = KeyRange.prefix(keys.tenants)
    while true {
      guard case .below(let end) = all.end else { return }
      let page = try await metadata.range(RangeRequest(.from(from, below: end), limit: 1_000))
      for pair in page.keyValues { try take(pair) }
      guard page.more, let last = page.keyValues.last else { return }
      from = last.key + [0]
    }
  }

  private func take(_ pair: KeyValue) throws(Fault) {
    let tenant = keys.parseOffsetStore(pair.key)
    let group = keys.parseGroupStore(pair.key)
    guard tenant != nil || group != nil else { return }
    let record: OffsetStoreRecord
    do {
      record = try OffsetStoreRecord(decoding: SharedBytes(pair.value))
    } catch {
      throw Fault(
        .internalError,
        "the metadata key \(String(decoding: pair.key, as: UTF8.self).displayable) holds no choice of an offset store; restore it"
      )
    }
    guard record.format == 1 else {
      throw Fault(
        .internalError,
        "the choice of an offset store has the format \(record.format), of a newer broker; this one reads 1. Run the newer broker"
      )
    }
    let choice = Choice(record: record, revision: pair.modRevision)
    state.withLock { state in
      if let tenant { state.defaults[tenant] = choice }
      if let group { state.groups[group] = choice }
    }
  }

  func standard(of tenant: String) -> String {
    state.withLock { $0.defaults[tenant]?.record.store } ?? standard
  }

  /// Nil: the group has no record.
  func choice(of key: GroupKey) -> Choice? { state.withLock { $0.groups[key] } }

  /// All groups with a record.
  var groups: [(key: GroupKey, record: OffsetStoreRecord)] {
    state.withLock { $0.groups.map { ($0.key, $0.value.record) } }
  }

  /// Stores that somebody was sent to, so that they are opened.
  var used: Set<String> {
    state.withLock { state in
      var names: Set<String> = [standard]
      for choice in [state.defaults.values.map(\.record), state.groups.values.map(\.record)].joined() {
        names.formUnion([choice.store, choice.movingTo, choice.emptying])
      }
      return names.subtracting([""])
    }
  }

  // MARK: The gate

  /// Where the group's offsets are, without passing the gate.
  func route(of key: GroupKey) -> Route { state.withLock { Self.route(of: key, $0, standard) } }

  private static func route(of key: GroupKey, _ state: State, _ standard: String) -> Route {
    if let record = state.groups[key]?.record {
      return record.store == GroupOffsets.log ? .log : .store(record.store)
    }
    let standard = state.defaults[key.tenant]?.record.store ?? standard
    return standard == GroupOffsets.log ? .log : .undecided(standard)
  }

  /// Begins a commit; `leave` is called exactly once after it.
  func enter(_ key: GroupKey) throws(Fault) -> Route {
    let result = state.withLock { state -> Result<Route, Fault> in
      if let fault = Self.refusal(of: key, state) { return .failure(fault) }
      state.underWay[key, default: 0] += 1
      return .success(Self.route(of: key, state, standard))
    }
    return try result.get()
  }

  func leave(_ key: GroupKey) {
    let waiting = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      let left = (state.underWay[key] ?? 1) - 1
      state.underWay[key] = left > 0 ? left : nil
      return left > 0 ? [] : state.waiting.removeValue(forKey: key) ?? []
    }
    for continuation in waiting { continuation.resume() }
  }

  /// Why joins and commits of the group are refused; nil: they are not.
  func refusal(of key: GroupKey) -> Fault? { state.withLock { Self.refusal(of: key, $0) } }

  private static func refusal(of key: GroupKey, _ state: State) -> Fault? {
    if let fault = state.shut[key] { return fault }
    return moving(key, state)
  }

  /// Why nobody may change the group before a move has ended; nil: none has begun.
  func moving(_ key: GroupKey) -> Fault? { state.withLock { Self.moving(key, $0) } }

  private static func moving(_ key: GroupKey, _ state: State) -> Fault? {
    guard let record = state.groups[key]?.record, !record.movingTo.isEmpty else { return nil }
    return Fault(
      .offsetsMoving,
      "the offsets of the group \(key.name) are being moved from \(record.store) to \(record.movingTo); `skein group move-offsets \(key.name) --to \(record.movingTo)` ends it if it was interrupted",
      metadata: ["group": key.name, "from": record.store, "to": record.movingTo], retryAfterMilliseconds: 500)
  }

  /// Keeps everybody else out of the group, once those who are in have left.
  /// - Throws: `CONFLICT`: somebody else has done so.
  func alone<R: Sendable>(
    _ key: GroupKey, _ what: String, _ body: () async throws(Fault) -> R
  ) async throws(Fault) -> R {
    let refusal = Fault(
      .offsetsMoving, "the offsets of the group \(key.name) are \(what); try again",
      metadata: ["group": key.name], retryAfterMilliseconds: 200)
    let isFree = state.withLock { state in
      guard state.shut[key] == nil else { return false }
      state.shut[key] = refusal
      return true
    }
    guard isFree else {
      throw Fault(
        .conflict,
        "somebody else moves, resets or deletes the offsets of the group \(key.name) at this moment",
        metadata: ["group": key.name], retryAfterMilliseconds: 500)
    }
    defer { state.withLock { $0.shut[key] = nil } }
    await withCheckedContinuation { continuation in
      let isEmpty = state.withLock { state in
        guard state.underWay[key] != nil else { return true }
        state.waiting[key, default: []].append(continuation)
        return false
      }
      if isEmpty { continuation.resume() }
    }
    return try await body()
  }

  // MARK: Changing

  /// Gives a group its record; who was faster decides.
  /// - Returns: the record's store.
  func decide(_ key: GroupKey, _ store: String) async throws(Fault) -> String {
    do throws(Fault) {
      try await change(key, from: nil, to: OffsetStoreRecord(store: store), by: "")
      return store
    } catch {
      guard error.reason == .conflict, let choice = choice(of: key) else { throw error }
      return choice.record.store
    }
  }

  /// Writes the record of a group if it is still what `old` says.
  /// - Parameter new: nil removes it.
  /// - Throws: `CONFLICT`; `METADATA_UNAVAILABLE` with an unknown outcome.
  func change(
    _ key: GroupKey, from old: Choice?, to new: OffsetStoreRecord?, by principal: String
  ) async throws(Fault) {
    let path = keys.groupStore(key)
    let choice = try await write(path, from: old, to: new, by: principal)
    state.withLock { $0.groups[key] = choice }
  }

  /// - Returns: what it was before.
  func setStandard(of tenant: String, _ store: String, by principal: String) async throws(Fault) -> String {
    let old = state.withLock { $0.defaults[tenant] }
    let choice = try await write(
      keys.offsetStore(of: tenant), from: old, to: OffsetStoreRecord(store: store), by: principal)
    state.withLock { $0.defaults[tenant] = choice }
    return old?.record.store ?? standard
  }

  private func write(
    _ path: [UInt8], from old: Choice?, to new: OffsetStoreRecord?, by principal: String
  ) async throws(Fault) -> Choice? {
    let compare = old.map { Compare.unchanged(path, since: $0.revision) } ?? .absent(path)
    do throws(MetadataError) {
      guard var record = new else {
        let result = try await metadata.transact(
          Transaction(if: [compare], then: [.delete(.key(path), previous: false)]))
        guard result.succeeded || old == nil else { throw MetadataError(.refused, "changed") }
        return nil
      }
      record.format = 1
      record.changedMs = time.wallMilliseconds
      record.changedBy = principal
      let result = try await metadata.transact(
        Transaction(
          if: [compare], then: [.put(key: path, value: record.encoded())],
          else: [.range(RangeRequest(.key(path)))]))
      if result.succeeded { return Choice(record: record, revision: result.revision) }
      // Told twice: the answer of the first was lost. Or somebody else was faster.
      guard case .range(let found)? = result.results.first, let pair = found.keyValues.first else {
        throw MetadataError(.refused, "changed")
      }
      do throws(Fault) { try take(pair) } catch { throw MetadataError(.refused, error.message) }
      throw MetadataError(.refused, "changed")
    } catch {
      if error.kind == .refused {
        throw Fault(.conflict, "somebody else changed the choice of the offset store; look at it and repeat")
      }
      throw error.fault
    }
  }
}
