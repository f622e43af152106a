import CommitLog
import MetadataStore
import SkeinCore
import Synchronization
import Wire

/// The topics that this broker serves: a snapshot of the metadata store, changed by compare-and-swap
/// there first (D2) and in memory after.
///
/// Keys: `/skein/<cluster>/t/<tenant>/topics/<name>` and, while a deleted topic's files are being
/// removed, `/skein/<cluster>/sys/deleted-topics/<topic id>`, written in the same transaction, so
/// that a crash between the two never leaves files that nobody owns.
///
/// A change is made in three steps: committed here (`create`, `change`, `delete`), carried out on the
/// partitions by the caller, then published for lookups (`publish`). `alone` keeps the changes of one
/// topic from overtaking each other in between.
///
/// Threading: lookups from any thread; changes from any task.
final class TopicRegistry: Sendable {
  /// Topics and partitions of the whole broker; a bound on metadata and memory.
  static let maximumTopics = 100_000
  private let maximumPartitions: Int

  private struct State {
    var topics: [TenantName: [String: Topic]] = [:]
    var names: [TopicID: (tenant: TenantName, name: String)] = [:]
    /// Made by the first page after a topic came or went, so that pages cost what they hold.
    var sortedNames: [TenantName: [String]] = [:]
    var topicCount = 0
    var partitionCount = 0
  }

  private let store: any MetadataStore
  private let keys: MetadataKeys
  private let time: any TimeSource
  private let random: any RandomSource
  private let state = Mutex(State())
  private let lanes = TopicLanes()
  /// Told of every published change; set before changes begin.
  private let watchers = Mutex<[Watcher]>([])
  private struct Watcher: Sendable { let changed: @Sendable (Topic, _ deleted: Bool) -> Void }

  init(
    store: any MetadataStore, keys: MetadataKeys, maximumPartitions: Int, time: any TimeSource,
    random: any RandomSource
  ) {
    self.store = store
    self.keys = keys
    self.maximumPartitions = maximumPartitions
    self.time = time
    self.random = random
  }

  // MARK: Lookups

  /// - Throws: `TOPIC_NOT_FOUND`, the same whether the name is another tenant's or nobody's.
  func topic(_ name: String, of tenant: TenantName) throws(Fault) -> Topic {
    if let topic = state.withLock({ $0.topics[tenant]?[name] }) { return topic }
    throw Self.notFound(name)
  }

  /// The topic of that id, if it is this tenant's and exists.
  func topic(_ id: TopicID, of tenant: TenantName) -> Topic? {
    state.withLock { state in
      guard let (owner, name) = state.names[id], owner == tenant else { return nil }
      return state.topics[tenant]?[name]
    }
  }

  /// - Throws: `PARTITION_NOT_FOUND` with the valid range.
  static func check(_ partition: Int32, of topic: Topic) throws(Fault) {
    guard partition >= 0 && partition < topic.partitions else {
      throw Fault(
        .partitionNotFound,
        "topic \"\(topic.name)\" has no partition \(partition); valid are 0 to \(topic.partitions - 1)",
        metadata: [
          "topic": topic.name, "partition": String(partition), "partitions": String(topic.partitions),
        ])
    }
  }

  static func notFound(_ name: String) -> Fault {
    Fault(
      .topicNotFound,
      "no topic \"\(name.displayable)\"; create it, or check the name with `skein topic list`",
      metadata: ["topic": name.displayable])
  }

  /// The tenant's topics after `token` in name order, at most `limit`.
  func page(of tenant: TenantName, after token: String, limit: Int) -> [Topic] {
    state.withLock { state in
      guard let topics = state.topics[tenant] else { return [] }
      let names = state.sortedNames[tenant] ?? topics.keys.sorted()
      state.sortedNames[tenant] = names
      var low = 0
      var high = names.count
      while low < high {
        let middle = (low + high) / 2
        if names[middle] > token { high = middle } else { low = middle + 1 }
      }
      return names[low...].prefix(limit).compactMap { topics[$0] }
    }
  }

  var all: [Topic] { state.withLock { $0.topics.values.flatMap(\.values) } }
  /// Of one tenant.
  func counts(of tenant: TenantName) -> (topics: Int, partitions: Int) {
    state.withLock { state in
      let topics = state.topics[tenant] ?? [:]
      return (topics.count, topics.values.reduce(0) { $0 + Int($1.partitions) })
    }
  }
  var counts: (topics: Int, partitions: Int) {
    state.withLock { ($0.topicCount, $0.partitionCount) }
  }

  // MARK: Changes

  /// Reads every topic; also returns the ids whose files are still to be removed.
  func load() async throws -> (topics: [Topic], deleted: [TopicID]) {
    var loaded: [Topic] = []
    for pair in try await rangeAll(prefix: keys.tenants) {
      guard let (tenant, name) = keys.parseTopic(pair.key) else { continue }
      loaded.append(
        try Self.decode(pair.value, tenant: tenant, name: name, revision: pair.modRevision.rawValue))
    }
    state.withLock { state in
      for topic in loaded { Self.insert(topic, into: &state) }
    }
    let deleted = try await rangeAll(prefix: keys.deletedTopics).compactMap { pair in
      TopicID(String(decoding: pair.key.dropFirst(keys.deletedTopics.count), as: UTF8.self))
    }
    return (loaded, deleted)
  }

  private func rangeAll(prefix: [UInt8]) async throws -> [KeyValue] {
    let keys = KeyRange.prefix(prefix)
    var all: [KeyValue] = []
    var from = prefix
    while true {
      let range: KeyRange
      switch keys.end {
      case .below(let end): range = .from(from, below: end)
      case .single, .unbounded: range = .from(from)
      }
      let page = try await store.range(RangeRequest(range, limit: 1_000))
      all += page.keyValues
      guard page.more, let last = page.keyValues.last else { return all }
      from = last.key + [0]
    }
  }

  /// Runs `change` alone among the changes of this name.
  func alone<R: Sendable>(
    _ name: String, of tenant: TenantName, _ change: () async throws -> R
  ) async throws -> R {
    try await lanes.alone(in: TopicLanes.Key(tenant: tenant, name: name), change)
  }

  /// Who is told of every published change, on the changing task.
  func watch(_ changed: @escaping @Sendable (Topic, _ deleted: Bool) -> Void) {
    watchers.withLock { $0.append(Watcher(changed: changed)) }
  }

  /// Commits a new topic. Throws `TOPIC_EXISTS`, `TOPIC_LIMIT`, `METADATA_UNAVAILABLE`.
  func create(
    _ name: String, tenant: TenantName, first: TopicGeneration, settings: TopicSettings,
    explicit: [String: String]
  ) async throws -> Topic {
    if tenant != .system { try checkLimits(topics: 1, partitions: Int(first.partitions)) }
    let topic = Topic(
      id: random.topicID(), tenant: tenant, name: name, current: first, settings: settings,
      explicitSettings: explicit, createdMilliseconds: first.sinceMilliseconds, revision: 0)
    let key = keys.topic(name, of: tenant)
    let result = try await commit(
      Transaction(
        if: [.absent(key)], then: [.put(key: key, value: Self.encode(topic))]))
    guard result.succeeded else {
      throw Fault(
        .topicExists, "topic \"\(name)\" exists already; choose another name or use the existing one",
        metadata: ["topic": name])
    }
    return topic.at(revision: result.revision.rawValue)
  }

  /// Commits a change of `old` to `new`. Throws `TOPIC_LIMIT`, `CONFLICT`, `METADATA_UNAVAILABLE`.
  func change(_ old: Topic, to new: Topic) async throws -> Topic {
    try checkLimits(topics: 0, partitions: Int(new.partitions - old.partitions))
    let key = keys.topic(old.name, of: old.tenant)
    let result = try await commit(
      Transaction(
        if: [.unchanged(key, since: Revision(old.revision))],
        then: [.put(key: key, value: Self.encode(new))]))
    guard result.succeeded else { throw Self.conflict(old) }
    return new.at(revision: result.revision.rawValue)
  }

  /// What the store says of a topic now; nil when it is gone.
  func stored(_ topic: Topic) async throws -> Topic? {
    guard let pair = try await stored(keys.topic(topic.name, of: topic.tenant)) else { return nil }
    return try Self.decode(
      pair.value, tenant: topic.tenant, name: topic.name, revision: pair.modRevision.rawValue)
  }

  private func stored(_ key: [UInt8]) async throws(Fault) -> KeyValue? {
    do {
      return try await store.get(key)
    } catch {
      throw error.fault
    }
  }

  /// Makes a committed topic visible to lookups.
  func publish(_ topic: Topic) {
    state.withLock { Self.insert(topic, into: &$0) }
    for watcher in watchers.withLock({ $0 }) { watcher.changed(topic, false) }
  }

  /// Commits the end of a topic; its files are removed by the caller, who then calls `forget`.
  func delete(_ name: String, tenant: TenantName) async throws -> Topic {
    let topic = try topic(name, of: tenant)
    let key = keys.topic(name, of: tenant)
    let result = try await commit(
      Transaction(
        if: [.unchanged(key, since: Revision(topic.revision))],
        then: [.delete(.key(key)), .put(key: keys.deleted(topic.id), value: [])]))
    guard result.succeeded else { throw Self.conflict(topic) }
    state.withLock { state in
      if let known = state.topics[tenant]?.removeValue(forKey: name) {
        state.sortedNames[tenant] = nil
        state.names[known.id] = nil
        if tenant != .system {
          state.topicCount -= 1
          state.partitionCount -= Int(known.partitions)
        }
      }
    }
    for watcher in watchers.withLock({ $0 }) { watcher.changed(topic, true) }
    return topic
  }

  /// - Throws: `CONFLICT` unless `expected` is 0 or the topic's revision.
  static func check(expected: Int64, _ topic: Topic) throws(Fault) {
    guard expected == 0 || expected == topic.revision else {
      throw Fault(
        .conflict,
        "topic \"\(topic.name)\" is at revision \(topic.revision), not at \(expected): somebody changed it meanwhile; look at it again and repeat",
        metadata: ["topic": topic.name, "revision": String(topic.revision)])
    }
  }

  private static func conflict(_ topic: Topic) -> Fault {
    Fault(
      .conflict, "topic \"\(topic.name)\" was changed by somebody else meanwhile; look again and repeat",
      metadata: ["topic": topic.name])
  }

  /// The files of a deleted topic are gone.
  func forget(_ id: TopicID) async throws {
    _ = try await commit(Transaction(then: [.delete(.key(keys.deleted(id)))]))
  }

  private func commit(_ transaction: Transaction) async throws(Fault) -> TransactionResult {
    do {
      return try await store.transact(transaction)
    } catch {
      throw error.fault
    }
  }

  private func checkLimits(topics moreTopics: Int, partitions morePartitions: Int) throws(Fault) {
    let (topics, total) = counts
    guard topics + moreTopics <= Self.maximumTopics, total + morePartitions <= maximumPartitions else {
      throw Fault(
        .topicLimit,
        "the broker has \(topics) topics and \(total) partitions; its limits are \(Self.maximumTopics) and \(maximumPartitions); delete some first",
        metadata: [
          "topics": String(topics), "partitions": String(total), "limit": String(maximumPartitions),
        ])
    }
  }

  private static func insert(_ topic: Topic, into state: inout State) {
    let known = state.topics[topic.tenant, default: [:]].updateValue(topic, forKey: topic.name)
    if known == nil { state.sortedNames[topic.tenant] = nil }
    state.names[topic.id] = (topic.tenant, topic.name)
    // What the broker keeps for itself does not count against what users may have.
    guard topic.tenant != .system else { return }
    if known == nil { state.topicCount += 1 }
    state.partitionCount += Int(topic.partitions) - Int(known?.partitions ?? 0)
  }

  // MARK: The stored form

  static let recordFormat: UInt32 = 1

  static func encode(_ topic: Topic) -> [UInt8] {
    var record = TopicRecord()
    record.format = recordFormat
    record.topicID = topic.id.description
    record.partitions = topic.partitions
    record.partitioner = topic.current.binding.partitioner
    record.generation = topic.generation
    record.settings = topic.explicitSettings
    record.createdMs = topic.createdMilliseconds
    record.generations = topic.generations.map(\.record)
    return record.encoded()
  }

  static func decode(
    _ bytes: [UInt8], tenant: TenantName, name: String, revision: Int64
  ) throws -> Topic {
    let record = try TopicRecord(decoding: SharedBytes(bytes))
    var violations: [Fault.FieldViolation] = []
    let settings = TopicSettings(explicit: record.settings, violations: &violations)
    let generations = generations(of: record)
    guard record.format == recordFormat, violations.isEmpty, let id = TopicID(record.topicID),
      let current = generations.last, current.number == record.generation,
      current.partitions == record.partitions
    else {
      throw Fault(
        .internalError,
        "the metadata record of topic \"\(name.displayable)\" (format \(record.format)) cannot be read by this version; start the version that wrote it"
      )
    }
    return Topic(
      id: id, tenant: tenant, name: name, earlier: Array(generations.dropLast()), current: current,
      settings: settings, explicitSettings: record.settings, createdMilliseconds: record.createdMs,
      revision: revision)
  }

  /// Those of a record, the one in force last; none when one of them cannot be read. Records from before
  /// there were several name the only one, a built-in, themselves.
  private static func generations(of record: TopicRecord) -> [TopicGeneration] {
    guard record.generations.isEmpty else {
      let read = record.generations.compactMap(TopicGeneration.init)
      return read.count == record.generations.count ? read : []
    }
    guard TopicName.partitionRange.contains(record.partitions),
      let builtIn = BuiltInPartitioner(rawValue: record.partitioner)
    else { return [] }
    return [TopicGeneration(record.generation, TopicBinding(builtIn), partitions: record.partitions)]
  }
}
