import GroupCoordination
import NIOCore
import SkeinCore
import Wire

extension MetricsPage {
  /// Lag of partitions that are named one by one; of the others only their number is told.
  static let maximumLags = 10_000
  /// For how long other stores than `log` are asked for one page, in nanoseconds, a group at a time.
  static let storePatience: Int64 = 2_000_000_000

  /// Coordinators in total, and the lag of each group.
  mutating func addGroups(_ context: BrokerContext) async {
    let facts = await context.groups.facts()
    func sum(_ value: (CoordinatorFacts) -> Int) -> Int { facts.reduce(0) { $0 + value($1) } }
    add("skein_groups", "gauge", "Consumer groups.", sum(\.groups))
    add("skein_group_members", "gauge", "Members of all groups.", sum(\.members))
    add("skein_group_offsets", "gauge", "Committed offsets that stand in __groups.", sum(\.offsets))
    add(
      "skein_group_commits_total", "counter", "Offsets committed to __groups.",
      sum { $0.counts.commits.value })
    add(
      "skein_group_rebalances_total", "counter", "Times that a group's partitions were divided anew.",
      sum { $0.counts.rebalances.value })
    add("skein_group_joins_total", "counter", "Members that joined.", sum { $0.counts.joined.value })
    add(
      "skein_group_removals_total", "counter", "Members that left or were removed.",
      sum { $0.counts.removed.value })
    add(
      "skein_group_records_total", "counter", "Records written to __groups.", sum { $0.counts.records.value })
    add(
      "skein_group_append_failures_total", "counter",
      "Times that a coordinator could not write and began again.", sum { $0.counts.failedAppends.value })
    add(
      "skein_group_patterns_abandoned_total", "counter", "Patterns that took too much work to resolve.",
      context.groups.topics.abandoned.value)
    describe(
      "skein_group_coordinator_up", "gauge", "1 when the coordinator of that partition of __groups serves.")
    for fact in facts {
      sample("skein_group_coordinator_up", [("partition", "\(fact.partition)")], fact.isActive ? 1 : 0)
    }
    describe(
      "skein_group_coordinator_load_seconds", "gauge", "How long the coordinator took to read its partition.")
    for fact in facts {
      sample(
        "skein_group_coordinator_load_seconds", [("partition", "\(fact.partition)")],
        Double(fact.counts.loadMicroseconds.value) / 1_000_000)
    }
    await addLags(context)
  }

  private mutating func addLags(_ context: BrokerContext) async {
    let (positions, omitted) = await context.groups.positions(limit: Self.maximumLags)
    var rows: [(labels: [(String, String)], lag: PartitionLag)] = []
    var unasked = 0
    let until = context.time.monotonicNanoseconds + Self.storePatience
    for (key, offsets) in positions {
      var offsets = offsets
      if context.groupOffsets.isRecorded(key) {
        guard rows.count < Self.maximumLags, context.time.monotonicNanoseconds < until,
          context.groupOffsets.isAvailable(key),
          let fetched = try? await GroupsService(context: context).fetchAll(key)
        else {
          unasked += 1
          continue
        }
        offsets = fetched.mapValues(\.offset)
      }
      let lags = await GroupLag(context: context).lag(
        of: offsets.mapValues { $0 }, tenant: TenantName(rawValue: key.tenant))
      for lag in lags {
        rows.append(
          (
            [
              ("tenant", key.tenant), ("group", key.name), ("topic", lag.topic),
              ("partition", "\(lag.partition)"),
            ], lag
          ))
      }
    }
    add(
      "skein_group_lags_unasked", "gauge",
      "Groups whose lag is left out of this page, because their offset store does not answer, or not all were asked within \(Self.storePatience / 1_000_000_000) s.",
      unasked)
    let left = omitted + max(0, rows.count - Self.maximumLags)
    add(
      "skein_group_lags_omitted", "gauge",
      "Partitions of groups whose lag is left out of this page, because there are more than \(Self.maximumLags).",
      left)
    describe("skein_group_lag_records", "gauge", "Records behind the group's committed offset.")
    for row in rows.prefix(Self.maximumLags) {
      sample("skein_group_lag_records", row.labels, row.lag.records)
    }
    describe(
      "skein_group_lag_seconds", "gauge", "Since the first record behind the committed offset was appended.")
    for row in rows.prefix(Self.maximumLags) {
      sample("skein_group_lag_seconds", row.labels, Double(row.lag.milliseconds) / 1_000)
    }
  }
}

extension GroupDirectory {
  /// The committed offsets of groups in the order of their names, until there are `limit` of them; and how many offsets
  /// are left out.
  func positions(
    limit: Int
  ) async -> (groups: [(key: GroupKey, offsets: [TopicPartition: Offset])], omitted: Int) {
    var groups: [(key: GroupKey, offsets: [TopicPartition: Offset])] = []
    var omitted = 0
    for host in allHosts {
      let part = try? await host.loop.submit { host.positions(limit: limit) }.get()
      groups += part?.groups ?? []
      omitted += part?.omitted ?? 0
    }
    groups.sort { $0.key < $1.key }
    var count = 0
    let taken = groups.prefix { group in
      count += group.offsets.count
      return count <= limit
    }
    omitted += groups.dropFirst(taken.count).reduce(0) { $0 + $1.offsets.count }
    return (Array(taken), omitted)
  }
}

extension CoordinatorHost {
  /// On the loop. See `GroupDirectory.positions`.
  func positions(
    limit: Int
  ) -> (groups: [(key: GroupKey, offsets: [TopicPartition: Offset])], omitted: Int) {
    guard case .active = phase else { return ([], 0) }
    let all = coordinator.table.groups
    let total = all.values.reduce(0) { $0 + $1.offsets.count }
    guard total > limit else { return (all.map { ($0.key, $0.value.offsets.mapValues(\.offset)) }, 0) }
    var groups: [(key: GroupKey, offsets: [TopicPartition: Offset])] = []
    var count = 0
    for (key, group) in all.sorted(by: { $0.key < $1.key }) {
      guard count + group.offsets.count <= limit else { break }
      count += group.offsets.count
      groups.append((key, group.offsets.mapValues(\.offset)))
    }
    return (groups, total - count)
  }
}
