import CommitLog
import NIOPosix
import SkeinCore
import Synchronization
import Wire

/// How far groups are behind their topics: in records, and in time since the first uncommitted record was appended, by the
/// broker's clock then (R60). Threading: any task.
struct GroupLag: Sendable {
  /// One partition's, or why it is not known.
  struct Item: Sendable {
    var key: TopicPartition
    var lag: PartitionLag
    var fault: Fault?
  }

  let context: BrokerContext

  /// The lags, in the order of topic and number, but for partitions that do not exist.
  /// - Parameter positions: what is committed of each partition; nil = nothing, which counts from the log's start.
  func lag(of positions: [TopicPartition: Offset?], tenant: TenantName) async -> [PartitionLag] {
    await items(of: positions, tenant: tenant).filter { $0.fault == nil }.map(\.lag)
  }

  func items(of positions: [TopicPartition: Offset?], tenant: TenantName) async -> [Item] {
    var items: [Item] = []
    items.reserveCapacity(positions.count)
    var searches: [(index: Int, search: AppendTimeSearch, start: Offset)] = []
    let now = context.time.wallMilliseconds
    for (key, committed) in positions {
      var item = Item(
        key: key, lag: PartitionLag(partition: key.partition, committedOffset: committed?.rawValue ?? -1))
      do throws(Fault) {
        if let (search, start) = try fill(&item, committed, tenant, now) {
          searches.append((items.count, search, start))
        }
      } catch {
        item.fault = error
      }
      items.append(item)
    }
    await find(searches, now, &items)
    return items.sorted { ($0.lag.topic, $0.lag.partition) < ($1.lag.topic, $1.lag.partition) }
  }

  /// - Returns: what has to be read for the time.
  func fill(
    _ item: inout Item, _ committed: Offset?, _ tenant: TenantName, _ now: Int64
  ) throws(Fault) -> (AppendTimeSearch, Offset)? {
    guard let topic = context.registry.topic(item.key.topic, of: tenant) else {
      item.lag.topic = item.key.topic.description
      throw Fault(
        .topicNotFound, "the topic \(item.key.topic) was deleted; its offsets go with it",
        metadata: ["topic_id": "\(item.key.topic)"])
    }
    item.lag.topic = topic.name
    try TopicRegistry.check(item.key.partition, of: topic)
    guard let log = context.workers.directory.partition(item.key) else { throw PartitionShard.gone(item.key) }
    let range = log.committedRange
    let start = max(committed ?? range.start, range.start)
    item.lag.highWatermark = range.end.rawValue
    item.lag.records = max(0, start.distance(to: range.end))
    if let why = log.corruption {
      throw Fault(.dataCorrupt, why).about(topic: topic.name, partition: item.key.partition)
    }
    guard item.lag.records > 0 else { return nil }
    switch log.appendTime(from: start) {
    case .none: return nil
    case .known(let time): item.lag.milliseconds = max(1, now - time)
    case .search(let search):
      guard let time = context.groups.appendTimes[item.key, start] else { return (search, start) }
      item.lag.milliseconds = max(1, now - time)
    }
    return nil
  }

  private func find(
    _ searches: [(index: Int, search: AppendTimeSearch, start: Offset)], _ now: Int64, _ items: inout [Item]
  ) async {
    guard !searches.isEmpty else { return }
    let directory = context.workers.directory
    let times = try? await context.workers.readPool.runIfActive {
      searches.map { directory.find($0.search) }
    }
    for (search, time) in zip(searches, times ?? []) {
      guard let time else { continue }
      items[search.index].lag.milliseconds = max(1, now - time)
      context.groups.appendTimes[items[search.index].key, search.start] = time
    }
  }
}

/// The last answers that came from a disk: a group that stands still asks for the same again and again.
/// Threading: any thread.
final class AppendTimes: Sendable {
  /// One a partition; when there are more, all are forgotten.
  static let capacity = 50_000

  private let known = Mutex<[TopicPartition: (offset: Offset, time: Int64)]>([:])

  subscript(key: TopicPartition, offset: Offset) -> Int64? {
    get {
      known.withLock { known in
        guard let entry = known[key], entry.offset == offset else { return nil }
        return entry.time
      }
    }
    set {
      known.withLock { known in
        if known.count >= Self.capacity { known.removeAll() }
        known[key] = newValue.map { (offset, $0) }
      }
    }
  }
}
