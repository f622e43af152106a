import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// Groups are their tenant's: another tenant's principal neither sees nor touches them, under the same names.
@Suite(.serialized) struct GroupTenancyTests {
  private static let other = TenantName(rawValue: "other")

  private func commit(
    _ offset: Int64, on connection: GRPCConnection, member: String = "", epoch: Int32 = 0
  ) async throws -> Reason? {
    let response: CommitResponse = try await connection.call(
      GroupsMethod.commit,
      Wire.CommitRequest(
        group: "g", offsets: [PartitionOffset(topic: "t", partition: 0, offset: offset)], memberID: member,
        memberEpoch: epoch))
    return response.results.first?.error.map { Fault($0).reason }
  }

  private func groups(_ connection: GRPCConnection) async throws -> [String] {
    let response: ListGroupsResponse = try await connection.call(GroupsMethod.list, ListGroupsRequest())
    return response.groups.map(\.group)
  }

  private func describe(_ connection: GRPCConnection) async throws -> DescribeGroupResponse {
    try await connection.call(GroupsMethod.describe, DescribeGroupRequest(group: "g"))
  }

  private func reset(_ connection: GRPCConnection) async throws -> ResetOffsetsResponse {
    try await connection.call(
      GroupsMethod.resetOffsets, ResetOffsetsRequest(group: "g", topic: "t", place: .earliest(true)))
  }

  private func delete(_ connection: GRPCConnection) async throws -> DeleteGroupResponse {
    try await connection.call(GroupsMethod.delete, DeleteGroupRequest(group: "g"))
  }

  private func fetch(_ connection: GRPCConnection) async throws -> FetchOffsetsResponse {
    try await connection.call(GroupsMethod.fetchOffsets, Wire.FetchOffsetsRequest(group: "g"))
  }

  private func move(_ connection: GRPCConnection) async throws -> Fault {
    let stream = try await StreamClient<MoveOffsetsRequest, MoveOffsetsProgress>.open(
      GroupsMethod.moveOffsets, on: connection)
    try await stream.send(MoveOffsetsRequest(group: "g", to: "sqlite"))
    try await stream.sendEnd()
    return try await stream.fault()
  }

  @Test func anotherTenantsGroupIsNotThere() async throws {
    let fixture = try await GroupFixture.start(partitions: 1) { $0.tenants = [.default, Self.other] }
    try await fixture.publish(5, to: 0..<1)
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count == 5 }
    #expect(try await member.commit([0: 3]) == [:])
    let stranger = try await fixture.test.connect(try fixture.test.issuer.client("other"))

    // Nothing is seen, and what is refused is refused as if there were nothing.
    #expect(try await groups(stranger).isEmpty)
    #expect(await fault { _ = try await describe(stranger) }?.reason == .groupNotFound)
    #expect(await fault { _ = try await fetch(stranger) }?.reason == .groupNotFound)
    #expect(await fault { _ = try await delete(stranger) }?.reason == .groupNotFound)
    #expect(await fault { _ = try await reset(stranger) }?.reason == .topicNotFound)
    #expect(try await move(stranger).reason == .groupNotFound)
    #expect(try await commit(1, on: stranger) == .topicNotFound)
    let taken = await fault {
      _ = try await commit(4, on: stranger, member: member.id, epoch: member.epoch)
    }
    #expect(taken?.reason == .unknownMember, "knowing id and epoch does not help")

    // Its own topic and group of the same names are others.
    let _: CreateTopicResponse = try await stranger.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: 1))
    let theirs = try await MemberClient.join(stranger)
    try await theirs.until { $0.owned == [0] }
    #expect(theirs.positions[0] == nil && theirs.values.isEmpty)
    #expect(await fault { _ = try await delete(stranger) }?.reason == .groupHasMembers)
    try await theirs.leave()
    // A membership that is somebody else's cannot be resumed.
    let thief = try await MemberClient.open(stranger) { join in
      join.memberID = member.id
      join.resume = SubscribeResume(epoch: member.epoch, positions: [])
    }
    #expect(try await thief.ending() == .unknownMember)
    #expect(try await commit(0, on: stranger) == nil)
    #expect(try await commit(1, on: stranger) == .offsetOutOfRange, "its own log is empty")
    let _: ChooseOffsetStoreResponse = try await stranger.call(
      GroupsMethod.chooseOffsetStore, ChooseOffsetStoreRequest(store: "sqlite"))
    let stores: ListOffsetStoresResponse = try await fixture.connection.call(
      GroupsMethod.listOffsetStores, ListOffsetStoresRequest())
    #expect(stores.stores.filter(\.isDefault).map(\.name) == ["log"], "each tenant chooses for itself")
    #expect(try await reset(stranger).changes.map(\.after) == [0])
    #expect(try await delete(stranger).offsets == 1)

    // All of that did not concern the first tenant.
    let described = try await describe(fixture.connection)
    #expect(described.summary?.members == 1 && described.members.first?.memberID == member.id)
    #expect(described.partitions.map { $0.lag?.committedOffset } == [3])
    #expect(try await member.commit([0: 4]) == [:])
    try await member.leave()
    await stranger.close()
    await fixture.end()
  }

  /// Only principals of a tenant that the broker has come in, and never as the system, whose topic holds all groups.
  @Test func strangersAreRefusedByEveryMethod() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    for name in ["other", "system"] {
      let connection = try await fixture.test.connect(try fixture.test.issuer.client(name))
      var reasons: [Reason?] = []
      for call in [
        { _ = try await groups(connection) }, { _ = try await describe(connection) },
        { _ = try await commit(0, on: connection) }, { _ = try await fetch(connection) },
        { _ = try await reset(connection) }, { _ = try await delete(connection) },
        {
          let _: ListOffsetStoresResponse = try await connection.call(
            GroupsMethod.listOffsetStores, ListOffsetStoresRequest())
        },
        {
          let _: ChooseOffsetStoreResponse = try await connection.call(
            GroupsMethod.chooseOffsetStore, ChooseOffsetStoreRequest(store: "log"))
        },
      ] as [() async throws -> Void] {
        reasons.append(await fault(of: call)?.reason)
      }
      reasons.append(try await move(connection).reason)
      reasons.append(try await MemberClient.open(connection).ending())
      #expect(reasons == [Reason?](repeating: .permissionDenied, count: 10), "\(name)")
      await connection.close()
    }
    await fixture.end()
  }
}
