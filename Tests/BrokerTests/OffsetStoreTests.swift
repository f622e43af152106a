import Foundation
import FoundationNetworking
import GroupCoordination
import NIOCore
import NIOPosix
import OffsetStorage
import SkeinCore
import Synchronization
import Testing
import Transport
import Wire

@testable import Broker

/// Groups that keep their offsets elsewhere than in `__groups`, against a real broker.
@Suite(.serialized) struct OffsetStoreTests {
  /// A broker with the topic `orders`: 8 partitions, ten records in the first two.
  private func start(
    folder: URL? = nil, identities: TestIdentities? = nil,
    _ configure: (inout BrokerConfiguration) -> Void = { _ in }
  ) async throws -> (test: TestBroker, connection: GRPCConnection) {
    let test = try await TestBroker.start(folder: folder, identities: identities, configure: configure)
    let connection = try await test.connect()
    if folder == nil {
      let _: CreateTopicResponse = try await connection.call(
        TopicsMethod.create, CreateTopicRequest(name: "orders", partitions: 8))
      for partition in [0, 1] as [Int32] {
        let _: PublishResponse = try await connection.call(
          ProducerMethod.publish,
          PublishRequest(
            topic: "orders",
            records: (0..<10).map { _ in Record(value: SharedBytes(Array("r".utf8)), partition: partition) }))
      }
    }
    return (test, connection)
  }

  private func commit(
    _ offsets: [(Int32, Int64)], of group: String = "billing", member: String = "", epoch: Int32 = 0,
    on connection: GRPCConnection
  ) async throws -> [Fault?] {
    let response: CommitResponse = try await connection.call(
      GroupsMethod.commit,
      Wire.CommitRequest(
        group: group,
        offsets: offsets.map {
          PartitionOffset(topic: "orders", partition: $0.0, offset: $0.1, metadata: "m\($0.1)")
        },
        memberID: member, memberEpoch: epoch))
    return response.results.map { $0.error.map { Fault($0) } }
  }

  private func offsets(_ group: String = "billing", on connection: GRPCConnection) async throws -> [Int32:
    Int64]
  {
    let fetched: FetchOffsetsResponse = try await connection.call(
      GroupsMethod.fetchOffsets, Wire.FetchOffsetsRequest(group: group))
    return Dictionary(uniqueKeysWithValues: fetched.offsets.map { ($0.partition, $0.offset) })
  }

  private func describe(_ group: String = "billing", on connection: GRPCConnection) async throws
    -> DescribeGroupResponse
  {
    try await connection.call(GroupsMethod.describe, DescribeGroupRequest(group: group))
  }

  @discardableResult
  private func choose(_ store: String, group: String = "", on connection: GRPCConnection) async throws
    -> String
  {
    let response: ChooseOffsetStoreResponse = try await connection.call(
      GroupsMethod.chooseOffsetStore, ChooseOffsetStoreRequest(store: store, group: group))
    return response.before
  }

  private func stores(on connection: GRPCConnection) async throws -> [OffsetStoreDescription] {
    let response: ListOffsetStoresResponse = try await connection.call(
      GroupsMethod.listOffsetStores, ListOffsetStoresRequest())
    return response.stores
  }

  private func move(
    _ group: String = "billing", to store: String, on connection: GRPCConnection
  ) async throws -> [MoveOffsetsProgress] {
    let stream = try await StreamClient<MoveOffsetsRequest, MoveOffsetsProgress>.open(
      GroupsMethod.moveOffsets, on: connection)
    try await stream.send(MoveOffsetsRequest(group: group, to: store))
    try await stream.sendEnd()
    var progress: [MoveOffsetsProgress] = []
    while let one = try await stream.next() { progress.append(one) }
    guard try await stream.status().code == .ok else { throw try await stream.fault() }
    return progress
  }

  private func eventually(_ condition: () async throws -> Bool) async throws {
    for _ in 0..<4_000 {
      if try await condition() { return }
      try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("it never happened")
  }

  // MARK: The embedded store

  @Test func sqliteDoesWhatTheLogDoes() async throws {
    let (test, connection) = try await start { $0.groupOffsetStore = "sqlite" }
    let results = try await commit([(0, 4), (1, 0), (0, 11), (9, 0)], on: connection)
    #expect(results[0] == nil && results[1] == nil)
    #expect(results[2]?.reason == .offsetOutOfRange && results[3]?.reason == .partitionNotFound)
    let behind = try await commit([(0, 3), (1, 2)], on: connection)
    #expect(behind[0]?.reason == .commitBehind && behind[0]?.metadata["committed"] == "4" && behind[1] == nil)
    #expect(try await offsets(on: connection) == [0: 4, 1: 2])
    let described = try await describe(on: connection)
    #expect(described.summary?.offsetStore == "sqlite" && described.summary?.phase == .empty)
    #expect(described.partitions.first?.lag?.records == 6 && described.partitions.first?.metadata == "m4")
    #expect(described.partitions.first.map { $0.committedMs > 0 } == true)

    let reset: ResetOffsetsResponse = try await connection.call(
      GroupsMethod.resetOffsets,
      ResetOffsetsRequest(
        group: "billing", topic: "orders", partitions: [0], place: .earliest(true), dryRun: true))
    #expect(reset.changes.map(\.before) == [4] && reset.changes.map(\.after) == [0])
    #expect(try await offsets(on: connection) == [0: 4, 1: 2])
    let _: ResetOffsetsResponse = try await connection.call(
      GroupsMethod.resetOffsets,
      ResetOffsetsRequest(group: "billing", topic: "orders", partitions: [0], place: .offset(1)))
    #expect(try await offsets(on: connection) == [0: 1, 1: 2])

    await connection.close()
    await test.kill()
    let (again, other) = try await start(folder: test.folder, identities: test.issuer) {
      $0.groupOffsetStore = "log"
    }
    #expect(try await offsets(on: other) == [0: 1, 1: 2], "what was acknowledged is there after a kill")
    #expect(try await describe(on: other).summary?.offsetStore == "sqlite")
    let deleted: DeleteGroupResponse = try await other.call(
      GroupsMethod.delete, DeleteGroupRequest(group: "billing"))
    #expect(deleted.offsets == 2)
    #expect(await fault { _ = try await describe(on: other) }?.reason == .groupNotFound)
    #expect(try await commit([(0, 1)], on: other) == [nil])
    #expect(try await describe(on: other).summary?.offsetStore == "log", "a new group begins anew")
    await other.close()
    await again.remove()
  }

  @Test func membersCommitToAnotherStoreUnderTheirEpochs() async throws {
    let (test, connection) = try await start { $0.groupOffsetStore = "sqlite" }
    let member = try await MemberClient.join(connection, group: "g") { $0.topics = ["orders"] }
    try await member.until { $0.assignment?.partitions.isEmpty == false }
    let taken = try await commit(
      [(0, 5), (1, 3)], of: "g", member: member.id, epoch: member.epoch, on: connection)
    #expect(taken == [nil, nil])
    let nobody = await fault { _ = try await commit([(0, 6)], of: "g", on: connection) }
    #expect(nobody?.reason == .groupHasMembers)
    let stale = await fault {
      _ = try await commit([(0, 6)], of: "g", member: member.id, epoch: member.epoch + 5, on: connection)
    }
    #expect(stale?.reason == .staleMemberEpoch)
    let behind = try await commit(
      [(0, 4), (1, 3)], of: "g", member: member.id, epoch: member.epoch, on: connection)
    #expect(behind[0]?.reason == .commitBehind && behind[1] == nil)
    let reset = await fault {
      let _: ResetOffsetsResponse = try await connection.call(
        GroupsMethod.resetOffsets, ResetOffsetsRequest(group: "g", topic: "orders", place: .earliest(true)))
    }
    #expect(reset?.reason == .groupHasMembers)
    #expect(await fault { _ = try await move("g", to: "log", on: connection) }?.reason == .groupHasMembers)
    #expect(try await offsets("g", on: connection) == [0: 5, 1: 3])
    await connection.close()
    await test.remove()
  }

  // MARK: Choosing

  @Test func storesAreChosenForTenantsAndGroups() async throws {
    let (test, connection) = try await start()
    #expect(try await commit([(0, 1)], of: "old", on: connection) == [nil])
    #expect(try await stores(on: connection).map(\.name) == ["log", "sqlite"])
    let unknown = await fault { try await choose("nowhere", on: connection) }
    #expect(unknown?.reason == .offsetStoreNotFound && unknown?.metadata["stores"] == "log,sqlite")
    #expect(try await choose("sqlite", on: connection) == "log")
    #expect(try await stores(on: connection).map(\.isDefault) == [false, true])
    // Groups that were there stay where they are, new ones begin there; whoever is fastest decides once.
    #expect(try await commit([(0, 2)], of: "old", on: connection) == [nil])
    #expect(try await commit([(0, 2)], of: "new", on: connection) == [nil])
    #expect(try await describe("old", on: connection).summary?.offsetStore == "log")
    #expect(try await describe("new", on: connection).summary?.offsetStore == "sqlite")
    #expect(try await choose("log", on: connection) == "sqlite")
    #expect(try await commit([(0, 3)], of: "new", on: connection) == [nil])
    #expect(try await describe("new", on: connection).summary?.offsetStore == "sqlite")

    let taken = await fault { try await choose("sqlite", group: "old", on: connection) }
    #expect(taken?.reason == .conflict && taken?.metadata["offsets"] == "1")
    #expect(try await choose("sqlite", group: "later", on: connection) == "log")
    #expect(try await commit([(0, 4)], of: "later", on: connection) == [nil])
    #expect(try await describe("later", on: connection).summary?.offsetStore == "sqlite")
    let listed: ListGroupsResponse = try await connection.call(GroupsMethod.list, ListGroupsRequest())
    #expect(
      listed.groups.map { "\($0.group) \($0.offsetStore)" } == ["later sqlite", "new sqlite", "old log"])
    await connection.close()
    await test.remove()
  }

  /// Between the choice for the tenant and the group's next commit nothing is written down of it.
  @Test func whoIsInTheLogIsNotTakenToBeElsewhere() async throws {
    let (test, connection) = try await start()
    #expect(try await commit([(0, 4)], of: "quiet", on: connection) == [nil])
    #expect(try await choose("sqlite", on: connection) == "log")
    #expect(try await describe("quiet", on: connection).summary?.offsetStore == "log")
    let listed: ListGroupsResponse = try await connection.call(GroupsMethod.list, ListGroupsRequest())
    #expect(listed.groups.map(\.offsetStore) == ["log"])
    let url = try #require(URL(string: "http://127.0.0.1:\(test.operationsPort)/metrics"))
    let page = String(decoding: try await URLSession.shared.data(from: url).0, as: UTF8.self)
    let lag = "skein_group_lag_records{tenant=\"default\",group=\"quiet\",topic=\"orders\",partition=\"0\"} 6"
    #expect(page.contains(lag))
    // Its offsets would be left behind, and it would begin anew.
    let refused = await fault { try await choose("sqlite", group: "quiet", on: connection) }
    #expect(refused?.reason == .conflict && refused?.metadata["store"] == "log")
    #expect(try await offsets("quiet", on: connection) == [0: 4])
    #expect(try await choose("log", group: "quiet", on: connection) == "log")
    #expect(try await commit([(0, 5)], of: "quiet", on: connection) == [nil])
    #expect(try await describe("quiet", on: connection).summary?.offsetStore == "log")
    await connection.close()
    await test.remove()
  }

  @Test func aGroupThatOnlyItsStoreKnowsIsListedDescribedAndDeleted() async throws {
    let (test, connection) = try await start { $0.groupOffsetStore = "sqlite" }
    for group in ["a", "b", "c"] { #expect(try await commit([(0, 2)], of: group, on: connection) == [nil]) }
    // As the coordinator does when a group was empty for the retention time.
    let key = GroupKey(tenant: "default", name: "b")
    _ = try await test.broker.context.groups.ask(.deleteGroup(key), of: key)
    var page: ListGroupsResponse = try await connection.call(
      GroupsMethod.list, ListGroupsRequest(pageSize: 2))
    #expect(page.groups.map(\.group) == ["a", "b"] && page.nextPageToken == "b")
    page = try await connection.call(GroupsMethod.list, ListGroupsRequest(pageSize: 2, pageToken: "b"))
    #expect(page.groups.map(\.group) == ["c"] && page.nextPageToken.isEmpty)
    let described = try await describe("b", on: connection)
    #expect(described.summary?.phase == .empty && described.partitions.first?.lag?.committedOffset == 2)
    let deleted: DeleteGroupResponse = try await connection.call(
      GroupsMethod.delete, DeleteGroupRequest(group: "b"))
    #expect(deleted.offsets == 1)
    #expect(await fault { _ = try await describe("b", on: connection) }?.reason == .groupNotFound)
    await connection.close()
    await test.remove()
  }

  // MARK: A store that is down

  @Test func whileAStoreIsDownCommitsAreToBeRepeated() async throws {
    let control = SwitchStore.Control()
    let (test, connection) = try await start {
      $0.groupOffsetStore = "far"
      $0.offsetStoreSources = [control.source("far")]
    }
    #expect(try await commit([(0, 1)], on: connection) == [nil])
    let key = GroupKey(tenant: "default", name: "billing")
    let groupOffsets = test.broker.context.groupOffsets
    #expect(groupOffsets.isAvailable(key))
    control.down(true)
    let first = await fault { _ = try await commit([(0, 2)], on: connection) }
    #expect(first?.reason == .offsetStoreUnavailable && first?.retryAfterMilliseconds != nil)
    #expect(!groupOffsets.isAvailable(key))
    let fetch = await fault { _ = try await offsets(on: connection) }
    #expect(fetch?.reason == .offsetStoreUnavailable)
    let calls = control.state.withLock { $0.commits }
    let second = await fault { _ = try await commit([(0, 2)], on: connection) }
    #expect(second?.reason == .offsetStoreUnavailable)
    #expect(control.state.withLock { $0.commits } == calls, "nobody waits for what is known to be down")
    #expect(try await stores(on: connection).last?.problem.isEmpty == false)
    control.down(false)
    let store = try groupOffsets.stores.store("far")
    _ = await store.attempt()
    #expect(groupOffsets.isAvailable(key))
    #expect(try await commit([(0, 2)], on: connection) == [nil])
    #expect(try await offsets(on: connection) == [0: 2])
    #expect(try await stores(on: connection).last?.problem.isEmpty == true)
    await connection.close()
    await test.remove()
  }

  /// Down from the start: the broker serves, and finds it later by itself.
  @Test func aStoreThatComesLaterIsFound() async throws {
    let control = SwitchStore.Control()
    control.down(true)
    let (test, connection) = try await start {
      $0.groupOffsetStore = "far"
      $0.offsetStoreSources = [control.source("far")]
    }
    #expect(await fault { _ = try await commit([(0, 1)], on: connection) }?.reason == .offsetStoreUnavailable)
    control.down(false)
    let key = GroupKey(tenant: "default", name: "billing")
    try await eventually { test.broker.context.groupOffsets.isAvailable(key) }
    #expect(try await commit([(0, 1)], on: connection) == [nil])
    await connection.close()
    await test.remove()
  }

  // MARK: Moving

  @Test(arguments: [("log", "sqlite"), ("sqlite", "log"), ("sqlite", "far"), ("far", "log")])
  func offsetsMoveAndTheOldPlaceIsEmpty(_ from: String, _ to: String) async throws {
    let control = SwitchStore.Control()
    let (test, connection) = try await start {
      $0.groupOffsetStore = from
      $0.offsetStoreSources = [control.source("far")]
      $0.offsetMoveHook = MoveHook(part: 2) { _ in }
    }
    #expect(await fault { _ = try await move("nobody", to: to, on: connection) }?.reason == .groupNotFound)
    #expect(await fault { _ = try await move(to: "nowhere", on: connection) }?.reason == .offsetStoreNotFound)
    #expect(
      try await commit([(0, 4), (1, 3), (2, 0), (5, 0), (7, 0)], on: connection) == [nil, nil, nil, nil, nil])
    let progress = try await move(to: to, on: connection)
    #expect(progress.map(\.step) == [.copying, .copying, .copying, .copying, .comparing, .switched, .done])
    #expect(progress.map(\.done) == [0, 2, 4, 5, 5, 5, 5] && progress.allSatisfy { $0.total == 5 })
    #expect(progress.allSatisfy { $0.from == from && $0.to == to })
    #expect(try await describe(on: connection).summary?.offsetStore == to)
    #expect(try await offsets(on: connection) == [0: 4, 1: 3, 2: 0, 5: 0, 7: 0])
    let groupOffsets = test.broker.context.groupOffsets
    let key = GroupKey(tenant: "default", name: "billing")
    if from == "log" {
      #expect(try await groupOffsets.inLog(key).isEmpty)
    } else {
      #expect(try await groupOffsets.stores.store(from).fetch(key, nil).isEmpty)
    }
    #expect(try await commit([(0, 5)], on: connection) == [nil])
    #expect(try await move(to: to, on: connection).map(\.step) == [.done], "it is there already")
    #expect(try await offsets(on: connection)[0] == 5)
    await connection.close()
    await test.remove()
  }

  /// At every step: killed, started again; the group is where it was or where it goes, and the same call ends the move.
  @Test(arguments: MoveHook.Step.allCases, [false, true])
  func aMoveThatACrashEndedGoesOn(_ step: MoveHook.Step, _ isToLog: Bool) async throws {
    let (from, to) = isToLog ? ("sqlite", "log") : ("log", "sqlite")
    let (test, connection) = try await start {
      $0.groupOffsetStore = from
      $0.offsetMoveHook = MoveHook(part: 2) { at throws(Fault) in
        if at == step { throw Fault(.internalError, "killed \(step)") }
      }
    }
    let wanted: [Int32: Int64] = [0: 4, 1: 3, 2: 0, 5: 0, 7: 0]
    #expect(try await commit(wanted.map { ($0.key, $0.value) }, on: connection).allSatisfy { $0 == nil })
    let killed = await fault { _ = try await move(to: to, on: connection) }
    #expect(killed?.message.contains("killed") == true || step == .afterEnd)
    await connection.close()
    await test.kill()

    let (again, other) = try await start(folder: test.folder, identities: test.issuer) {
      $0.groupOffsetStore = from
    }
    #expect(try await offsets(on: other) == wanted, "after \(step)")
    let isMoving = [.afterRecord, .afterClearing, .afterCopyOfSome, .afterCopy, .afterComparing].contains(
      step)
    if isMoving {
      let refused = await fault { _ = try await commit([(0, 5)], on: other) }
      #expect(refused?.reason == .offsetsMoving && refused?.metadata["to"] == to)
      let join = try await MemberClient.open(other, group: "billing") { $0.topics = ["orders"] }
      #expect(try await join.stream.fault().reason == .offsetsMoving)
    } else {
      #expect(try await commit([(0, 5)], on: other) == [nil], "after \(step)")
    }
    let progress = try await move(to: to, on: other)
    #expect(progress.last?.step == .done)
    var now = wanted
    if !isMoving { now[0] = 5 }
    #expect(try await offsets(on: other) == now, "after \(step)")
    #expect(try await describe(on: other).summary?.offsetStore == to)
    let key = GroupKey(tenant: "default", name: "billing")
    let groupOffsets = again.broker.context.groupOffsets
    if isToLog {
      #expect(try await groupOffsets.stores.store("sqlite").fetch(key, nil).isEmpty)
    } else {
      #expect(try await groupOffsets.inLog(key).isEmpty)
    }
    #expect(groupOffsets.choices.choice(of: key)?.record.emptying == "")
    #expect(try await commit([(1, 4)], on: other) == [nil])
    await other.close()
    await again.remove()
  }

  @Test func aMoveThatWasBegunCanBeTakenBack() async throws {
    let control = SwitchStore.Control()
    let (test, connection) = try await start { $0.offsetStoreSources = [control.source("far")] }
    #expect(try await commit([(0, 4), (1, 3)], on: connection) == [nil, nil])
    control.state.withLock { $0.altersFetches = true }
    let differs = await fault { _ = try await move(to: "far", on: connection) }
    #expect(differs?.reason == .offsetStoreUnavailable, "what is read back is compared")
    #expect(try await describe(on: connection).summary?.offsetStore == "log")
    #expect(await fault { _ = try await commit([(0, 5)], on: connection) }?.reason == .offsetsMoving)
    let elsewhere = await fault { _ = try await move(to: "sqlite", on: connection) }
    #expect(elsewhere?.reason == .conflict)
    #expect(try await move(to: "log", on: connection).last?.step == .done)
    #expect(try await commit([(0, 5)], on: connection) == [nil])
    #expect(try await offsets(on: connection) == [0: 5, 1: 3])
    let key = GroupKey(tenant: "default", name: "billing")
    #expect(try await test.broker.context.groupOffsets.stores.store("far").fetch(key, nil).isEmpty)
    await connection.close()
    await test.remove()
  }

  /// Commits that were taken before a move began are part of it; those that come later wait for its end.
  @Test func aMoveWaitsForCommitsThatAreOnTheirWay() async throws {
    let control = SwitchStore.Control()
    let (test, connection) = try await start {
      $0.groupOffsetStore = "far"
      $0.offsetStoreSources = [control.source("far")]
    }
    #expect(try await commit([(0, 1)], on: connection) == [nil])
    let (reached, release) = control.holdNextCommit()
    async let late = commit([(0, 7)], on: connection)
    for await _ in reached {}
    let second = try await test.connect()
    async let moving = move(to: "log", on: second)
    let key = GroupKey(tenant: "default", name: "billing")
    try await eventually { test.broker.context.groupOffsets.refusal(of: key) != nil }
    let third = try await test.connect()
    #expect(await fault { _ = try await commit([(0, 8)], on: third) }?.reason == .offsetsMoving)
    release.finish()
    #expect(try await late == [nil])
    #expect(try await moving.last?.step == .done)
    #expect(try await offsets(on: third) == [0: 7])
    #expect(try await describe(on: third).summary?.offsetStore == "log")
    for open in [connection, second, third] { await open.close() }
    await test.remove()
  }

  // MARK: Upkeep

  @Test func offsetsOfGoneTopicsAndExpiredGroupsGo() async throws {
    let (test, connection) = try await start { $0.groupOffsetStore = "sqlite" }
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "gone", partitions: 1))
    let context = test.broker.context
    let gone = try #require(context.registry.all.first { $0.name == "gone" })
    let key = GroupKey(tenant: "default", name: "billing")
    #expect(try await commit([(0, 1)], on: connection) == [nil])
    let _: CommitResponse = try await connection.call(
      GroupsMethod.commit,
      Wire.CommitRequest(group: "billing", offsets: [PartitionOffset(topic: "gone", partition: 0, offset: 0)])
    )
    let store = try context.groupOffsets.stores.store("sqlite")
    #expect(try await store.fetch(key, nil).count == 2)
    let topics = Set(context.registry.all.map(\.id)).subtracting([gone.id])
    await context.groupOffsets.upkeep(existing: topics, isClockInDoubt: true)
    #expect(try await store.fetch(key, nil).count == 1)
    await context.groupOffsets.upkeep(existing: topics, isClockInDoubt: false)
    #expect(try await store.fetch(key, nil).count == 1, "it has not expired")
    await connection.close()
    await test.remove()
  }

  @Test func expiryIsForGroupsThatTheirCoordinatorForgot() async throws {
    let (test, connection) = try await start {
      $0.groupOffsetStore = "sqlite"
      $0.groups.times.offsetRetention = -60_000
    }
    #expect(try await commit([(0, 1)], on: connection) == [nil])
    let context = test.broker.context
    let key = GroupKey(tenant: "default", name: "billing")
    let topics = Set(context.registry.all.map(\.id))
    let store = try context.groupOffsets.stores.store("sqlite")
    await context.groupOffsets.upkeep(existing: topics, isClockInDoubt: false)
    #expect(try await store.fetch(key, nil).count == 1, "its coordinator knows it")
    _ = try await context.groups.ask(.deleteGroup(key), of: key)
    await context.groupOffsets.upkeep(existing: topics, isClockInDoubt: true)
    #expect(try await store.fetch(key, nil).count == 1, "the clock is in doubt")
    await context.groupOffsets.upkeep(existing: topics, isClockInDoubt: false)
    #expect(try await store.fetch(key, nil).isEmpty)
    #expect(context.groupOffsets.choices.choice(of: key) == nil)
    await connection.close()
    await test.remove()
  }

  // MARK: Configuration

  @Test func theSettingIsReadOrSaysWhatIsWrong() throws {
    let settings = try OffsetStoreSetting.parse(
      " pg=com.skein.postgres-offsets@1.0.0:/etc/skein/pg.json , redis = com.skein.redis-offsets@1.2.0 ,")
    #expect(settings.map(\.name) == ["pg", "redis"])
    #expect(
      settings[0].plugin == "com.skein.postgres-offsets@1.0.0"
        && settings[0].configFile == "/etc/skein/pg.json")
    #expect(settings[1].plugin == "com.skein.redis-offsets@1.2.0" && settings[1].configFile.isEmpty)
    for bad in ["pg", "=a@1", "PG=a@1", "log=a@1", "sqlite=a@1", "a=x@1:relative", "a=x@1,a=y@1", "a b=x@1"] {
      #expect(throws: Fault.self, "\(bad)") { try OffsetStoreSetting.parse(bad) }
    }
    #expect(throws: Fault.self) { try OffsetStoreSetting.check("pg", among: []) }
    try OffsetStoreSetting.check("pg", among: settings)
  }

  @Test func aBrokerDoesNotStartWithAStoreThatThereIsNot() async throws {
    let unknown = await fault {
      let test = try await TestBroker.start { $0.groupOffsetStore = "nowhere" }
      await test.remove()
    }
    #expect(unknown?.reason == .offsetStoreNotFound && unknown?.message.contains("nowhere") == true)
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("skein-\(UUID()).json").path
    defer { try? FileManager.default.removeItem(atPath: file) }
    #expect(
      FileManager.default.createFile(
        atPath: file, contents: Data("{}".utf8), attributes: [.posixPermissions: 0o644]))
    let open = await fault {
      let test = try await TestBroker.start {
        $0.offsetStores = [OffsetStoreSetting(name: "pg", plugin: "com.acme.pg@1.0.0", configFile: file)]
      }
      await test.remove()
    }
    #expect(open?.message.contains("chmod 600") == true, "\(String(describing: open))")
  }

  /// The plug-in may have to be installed first: by way of this very broker.
  @Test func aPluginThatIsNotInstalledIsToldAndNothingElseSuffers() async throws {
    let (test, connection) = try await start {
      $0.offsetStores = [OffsetStoreSetting(name: "pg", plugin: "com.acme.pg@1.0.0", configFile: "")]
    }
    let problem = try await stores(on: connection).first { $0.name == "pg" }
    #expect(problem?.plugin == "com.acme.pg@1.0.0" && problem?.problem.contains("com.acme.pg@1.0.0") == true)
    #expect(try await commit([(0, 1)], on: connection) == [nil])
    try await choose("pg", group: "other", on: connection)
    let refused = await fault { _ = try await commit([(0, 1)], of: "other", on: connection) }
    #expect(refused?.reason == .offsetStoreUnavailable)
    await connection.close()
    await test.remove()
  }
}
