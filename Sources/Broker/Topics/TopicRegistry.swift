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
/// Threading: lookups from any thread; changes from any task, the store serialises them.
final class TopicRegistry: Sendable {
  /// Topics of one tenant and partitions of the whole broker; a bound on metadata and memory.
  static let maximumTopics = 100_000
  static let maximumPartitions = 200_000

  private struct State {
    var topics: [TenantName: [String: Topic]] = [:]
    var topicCount = 0
    var partitionCount = 0
  }

  private let store: any MetadataStore
  private let keys: MetadataKeys
  private let time: any TimeSource
  private let random: any RandomSource
  private let state = Mutex(State())

  init(
    store: any MetadataStore, keys: MetadataKeys, time: any TimeSource, random: any RandomSource
  ) {
    self.store = store
    self.keys = keys
    self.time = time
    self.random = random
  }

  // MARK: Lookups

  /// - Throws: `TOPIC_NOT_FOUND`, the same whether the name is another tenant's or nobody's.
  func topic(_ name: String, of tenant: TenantName) throws(Fault) -> Topic {
    if let topic = state.withLock({ $0.topics[tenant]?[name] }) { return topic }
    throw Self.notFound(name)
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
    let topics = state.withLock { $0.topics[tenant] ?? [:] }
    return topics.values.filter { $0.name > token }.sorted { $0.name < $1.name }.prefix(limit).map { $0 }
  }

  var all: [Topic] { state.withLock { $0.topics.values.flatMap(\.values) } }
  var counts: (topics: Int, partitions: Int) {
    state.withLock { ($0.topicCount, $0.partitionCount) }
  }

  // MARK: Changes

  /// Reads every topic; also returns the ids whose files are still to be removed.
  func load() async throws -> (topics: [Topic], deleted: [TopicID]) {
    var loaded: [Topic] = []
    for pair in try await rangeAll(prefix: keys.tenants) {
      guard let (tenant, name) = keys.parseTopic(pair.key) else { continue }
      loaded.append(try Self.decode(pair.value, tenant: tenant, name: name))
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

  /// Commits a new topic. Throws `TOPIC_EXISTS`, `TOPIC_LIMIT`, `METADATA_UNAVAILABLE`.
  func create(
    _ name: String, tenant: TenantName, partitions: Int32, partitioner: BuiltInPartitioner,
    settings: TopicSettings, explicit: [String: String]
  ) async throws -> Topic {
    try checkLimits(adding: partitions)
    let topic = Topic(
      id: random.topicID(), tenant: tenant, name: name, partitions: partitions,
      partitioner: partitioner, generation: 1, settings: settings, explicitSettings: explicit,
      createdMilliseconds: time.wallMilliseconds)
    let key = keys.topic(name, of: tenant)
    let result = try await commit(
      Transaction(
        if: [.absent(key)], then: [.put(key: key, value: Self.encode(topic))]))
    guard result.succeeded else {
      throw Fault(
        .topicExists, "topic \"\(name)\" exists already; choose another name or use the existing one",
        metadata: ["topic": name])
    }
    state.withLock { Self.insert(topic, into: &$0) }
    return topic
  }

  /// Commits the end of a topic; its files are removed by the caller, who then calls `forget`.
  func delete(_ name: String, tenant: TenantName) async throws -> Topic {
    let topic = try topic(name, of: tenant)
    let key = keys.topic(name, of: tenant)
    let result = try await commit(
      Transaction(
        if: [Compare(key, .equal, .value(Self.encode(topic)))],
        then: [.delete(.key(key)), .put(key: keys.deleted(topic.id), value: [])]))
    guard result.succeeded else {
      throw Fault(
        .conflict, "topic \"\(name)\" was changed by somebody else meanwhile; look again and repeat",
        metadata: ["topic": name])
    }
    state.withLock { state in
      if state.topics[tenant]?.removeValue(forKey: name) != nil {
        state.topicCount -= 1
        state.partitionCount -= Int(topic.partitions)
      }
    }
    return topic
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

  private func checkLimits(adding partitions: Int32) throws(Fault) {
    let (topics, total) = counts
    guard topics < Self.maximumTopics, total + Int(partitions) <= Self.maximumPartitions else {
      throw Fault(
        .topicLimit,
        "the broker has \(topics) topics and \(total) partitions; its limits are \(Self.maximumTopics) and \(Self.maximumPartitions); delete some first",
        metadata: ["topics": String(topics), "partitions": String(total)])
    }
  }

  private static func insert(_ topic: Topic, into state: inout State) {
    if state.topics[topic.tenant, default: [:]].updateValue(topic, forKey: topic.name) == nil {
      state.topicCount += 1
      state.partitionCount += Int(topic.partitions)
    }
  }

  // MARK: The stored form

  static let recordFormat: UInt32 = 1

  static func encode(_ topic: Topic) -> [UInt8] {
    var record = TopicRecord()
    record.format = recordFormat
    record.topicID = topic.id.description
    record.partitions = topic.partitions
    record.partitioner = topic.partitioner.rawValue
    record.generation = topic.generation
    record.settings = topic.explicitSettings
    record.createdMs = topic.createdMilliseconds
    return record.encoded()
  }

  static func decode(_ bytes: [UInt8], tenant: TenantName, name: String) throws -> Topic {
    let record = try TopicRecord(decoding: SharedBytes(bytes))
    var violations: [Fault.FieldViolation] = []
    let settings = TopicSettings(explicit: record.settings, violations: &violations)
    guard record.format == recordFormat, violations.isEmpty, let id = TopicID(record.topicID),
      TopicName.partitionRange.contains(record.partitions),
      let partitioner = BuiltInPartitioner(rawValue: record.partitioner)
    else {
      throw Fault(
        .internalError,
        "the metadata record of topic \"\(name.displayable)\" (format \(record.format)) cannot be read by this version; start the version that wrote it"
      )
    }
    return Topic(
      id: id, tenant: tenant, name: name, partitions: record.partitions, partitioner: partitioner,
      generation: record.generation, settings: settings, explicitSettings: record.settings,
      createdMilliseconds: record.createdMs)
  }
}
