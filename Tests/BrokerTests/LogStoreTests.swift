import GroupCoordination
import NIOCore
import NIOPosix
import OffsetStorage
import SkeinCore
import Synchronization
import Testing
import Wire

@testable import Broker

/// The default store, `__groups` itself, held to the suite of every store by way of real members of a real broker.
@Suite(.serialized) struct LogStoreTests {
  /// Cases that do not speak of `log`, and why.
  static let others: [String: String] = [
    "commit.nothing": "a commit of nothing is refused before it comes to a store",
    "fence.whole": "each offset of a commit has an answer of its own",
    "fence.back": "no commit goes back, in no epoch",
    "fence.each-partition": "an epoch is the member's, who has the partition or not",
    "fence.nobody": "an epoch is the member's; after a reset there is none",
    "scan": "nobody asks for the groups of a tenant with all offsets",
    "size": "partitions are those of a topic; OffsetTests has commits of 10,000",
    "name.any": "groups have names of ASCII letters and digits; the edge refuses others",
    "name.tenants": "so have tenants",
  ]

  static let cases = OffsetStoreSuite.cases.map(\.name).filter { name in
    !others.keys.contains { name == $0 || name.hasPrefix($0 + ".") }
  }

  @Test func theLogKeepsThePromisesOfEveryStore() async throws {
    #expect(Self.cases.count >= 15, "\(Self.cases)")
    let place = LogPlace(try await TestBroker.start())
    let suite = OffsetStoreSuite(.init { try await place.opened() }, run: "log")
    for name in Self.cases {
      // Those that open the store again find a broker that was killed; the others need no new one.
      await place.begin(
        isKilled: ["commit.again", "commit.durable", "remove.all", "name.metadata"].contains(name))
      for outcome in await suite.run(name) {
        #expect(outcome.broken == nil, "\(outcome.name): \(outcome.broken ?? "")")
      }
    }
    await place.test.remove()
  }
}

/// A broker, and what its clients know of their memberships: that outlives the broker.
private actor LogPlace {
  struct Member: Sendable {
    /// Of the suite.
    var epoch: Int32
    /// Joined; with the epoch that the broker gave it.
    var joining: Task<(id: String, epoch: Int32), any Error>
  }
  struct Place: Hashable {
    var group: GroupKey
    var partition: TopicPartition
    var offset: Offset
  }
  private static let partitions: Int32 = 16

  private(set) var test: TestBroker
  private var isKilled = false
  private var isFirst = true
  private var topics: [String: Task<TopicID, any Error>] = [:]
  /// The suite's partitions of each tenant, as partitions of the tenant's topic.
  private var places: [String: [TopicPartition]] = [:]
  private var members: [GroupKey: Member] = [:]
  /// What the log does not keep: the member's epoch, and its time.
  private var told: [Place: StoredOffset] = [:]
  private var joins = 0

  init(_ test: TestBroker) { self.test = test }

  func begin(isKilled: Bool) {
    self.isKilled = isKilled
    isFirst = true
  }

  func opened() async throws -> LogStore {
    if !isFirst, isKilled {
      await test.kill()
      test = try await TestBroker.start(folder: test.folder, identities: test.issuer)
    }
    isFirst = false
    return LogStore(self)
  }

  private var context: BrokerContext { test.broker.context }

  // MARK: Partitions

  private func real(_ partition: TopicPartition, _ tenant: String) async throws -> TopicPartition {
    if topics[tenant] == nil {
      let context = context
      topics[tenant] = Task {
        let topic = try await context.registry.create(
          "suite", tenant: TenantName(rawValue: tenant),
          first: TopicGeneration(1, TopicBinding(.murmur2), partitions: Self.partitions, since: 0),
          settings: TopicSettings(), explicit: [:])
        try await context.open(topic)
        context.registry.publish(topic)
        return topic.id
      }
    }
    let number: Int
    if let known = places[tenant, default: []].firstIndex(of: partition) {
      number = known
    } else {
      number = places[tenant, default: []].count
      places[tenant, default: []].append(partition)
    }
    guard number < Self.partitions, let topic = topics[tenant] else { throw CancellationError() }
    return TopicPartition(topic: try await topic.value, partition: Int32(number))
  }

  // MARK: Members

  /// The group's member in the suite's epoch, which joins if it is the newest.
  private func member(_ epoch: Int32, of group: GroupKey) async throws -> (id: String, epoch: Int32) {
    if let member = members[group], member.epoch == epoch { return try await member.joining.value }
    let before = members[group]
    // A member of the past: whatever it was called, it is none any more.
    if let before, before.epoch > epoch { return ("past-\(epoch)", epoch) }
    joins += 1
    let id = "member-\(joins)"
    let groups = context.groups
    let joining = Task { () async throws -> (id: String, epoch: Int32) in
      if let before {
        let gone = LeaveRequest(group: group, memberID: try await before.joining.value.id)
        _ = try await groups.ask(.leave(gone), of: group)
      }
      let sink = RecordingSink(MultiThreadedEventLoopGroup.singleton.next())
      let join = JoinRequest(
        group: group, memberID: id, processID: id, subscription: Subscription(names: ["suite"], patterns: []))
      _ = try await groups.ask(.join(join, groups.attach(sink, to: group)), of: group)
      let assignment = try await sink.assignment { $0.partitions.count == Self.partitions }
      guard let assignment else { throw CancellationError() }
      return (id, assignment.epoch)
    }
    members[group] = Member(epoch: epoch, joining: joining)
    return try await joining.value
  }

  private func leave(_ group: GroupKey) async throws {
    guard let member = members.removeValue(forKey: group) else { return }
    let leave = LeaveRequest(group: group, memberID: try await member.joining.value.id)
    _ = try await context.groups.ask(.leave(leave), of: group)
  }

  // MARK: What a store does

  func commit(_ group: GroupKey, _ epoch: Int32, _ offsets: [StoredOffset]) async throws {
    var commits: [OffsetCommit] = []
    for offset in offsets {
      let partition = try await real(offset.partition, group.tenant)
      commits.append(
        OffsetCommit(
          partition: partition, offset: offset.committed.offset, leaderEpoch: offset.committed.leaderEpoch,
          metadata: offset.committed.metadata))
      let place = Place(group: group, partition: offset.partition, offset: offset.committed.offset)
      if (told[place]?.memberEpoch ?? -1) < epoch { told[place] = offset }
    }
    let member = try await member(epoch, of: group)
    let context = context
    let results = try await withCheckedThrowingContinuation { continuation in
      context.groupOffsets.commit(
        GroupCoordination.CommitRequest(group: group, member: member, offsets: commits),
        on: MultiThreadedEventLoopGroup.singleton.next()
      ) { continuation.resume(with: $0) }
    }
    if let fault = results.compactMap({ $0 }).first { throw fault }
  }

  func fetch(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws -> [StoredOffset] {
    var wanted: [TopicPartition]?
    if let partitions {
      wanted = []
      for partition in partitions { wanted?.append(try await real(partition, group.tenant)) }
    }
    let request = GroupCoordination.FetchOffsetsRequest(group: group, partitions: wanted)
    guard case .offsets(let found) = try await context.groups.ask(.fetchOffsets(request), of: group) else {
      throw CancellationError()
    }
    return found.compactMap { partition, committed in
      guard let known = places[group.tenant], partition.partition < known.count else { return nil }
      let partition = known[Int(partition.partition)]
      let told = told[Place(group: group, partition: partition, offset: committed.offset)]
      var committed = committed
      committed.committedAt = told?.committed.committedAt ?? -1
      return StoredOffset(partition: partition, committed: committed, memberEpoch: told?.memberEpoch ?? -1)
    }
  }

  func remove(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws {
    try await leave(group)
    guard let partitions else {
      _ = try await context.groups.ask(.deleteGroup(group), of: group)
      return
    }
    var real: [TopicPartition] = []
    for partition in partitions { real.append(try await self.real(partition, group.tenant)) }
    _ = try await context.groups.ask(.deleteOffsets(group, real), of: group)
  }

  /// All groups in one page.
  func list(_ tenant: String) async throws -> [StoredOffsetPage.Group] {
    var groups: [StoredOffsetPage.Group] = []
    for result in await context.groups.askAll(.list(tenant: tenant)) {
      guard case .list(let summaries) = try result.get() else { continue }
      for summary in summaries {
        let offsets = try await fetch(summary.key, nil)
        if !offsets.isEmpty { groups.append(.init(name: summary.key.name, offsets: offsets)) }
      }
    }
    return groups.sorted { Array($0.name.utf8).lexicographicallyPrecedes(Array($1.name.utf8)) }
  }
}

/// `log` in the words of the suite.
private final class LogStore: OffsetStore {
  let name = "log"
  private let place: LogPlace

  init(_ place: LogPlace) { self.place = place }

  /// What the log refuses by its own names is CONFLICT here.
  private func translated<R: Sendable>(_ body: () async throws -> R) async throws(Fault) -> R {
    do {
      return try await body()
    } catch let fault as Fault {
      let isRefusal = [Reason.unknownMember, .staleMemberEpoch, .commitBehind].contains(fault.reason)
      throw isRefusal ? Fault(.conflict, "\(fault)") : fault
    } catch {
      throw Fault(.internalError, "\(error)")
    }
  }

  func commit(_ group: GroupKey, memberEpoch: Int32, _ offsets: [StoredOffset]) async throws(Fault) {
    try await translated { try await place.commit(group, memberEpoch, offsets) }
  }

  func fetch(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) -> [StoredOffset] {
    do throws(Fault) {
      return try await translated { try await place.fetch(group, partitions) }
    } catch {
      guard error.reason == .groupNotFound else { throw error }
      return []
    }
  }

  func scan(tenant: String, after token: String, limit: Int) async throws(Fault) -> StoredOffsetPage {
    let flat = try await translated {
      try await place.list(tenant).flatMap { group in group.offsets.map { (group.name, $0) } }
    }
    let begin = Int(token) ?? 0
    var page = StoredOffsetPage(groups: [], token: flat.count > begin + limit ? "\(begin + limit)" : "")
    for (name, offset) in flat.dropFirst(begin).prefix(limit) {
      if page.groups.last?.name != name { page.groups.append(.init(name: name, offsets: [])) }
      page.groups[page.groups.count - 1].offsets.append(offset)
    }
    return page
  }

  func remove(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) {
    do throws(Fault) {
      try await translated { try await place.remove(group, partitions) }
    } catch {
      guard error.reason == .groupNotFound else { throw error }
    }
  }

  func close() async {}
}
