import GroupCoordination
import NIOCore
import NIOPosix
import SkeinCore
import Synchronization
import Testing
import Transport
import Wire

@testable import Broker

/// What a member's stream would be: remembers what it was told.
final class RecordingSink: MemberSink {
  let eventLoop: any EventLoop
  private let state = Mutex<[MemberMessage]>([])

  init(_ loop: any EventLoop) { eventLoop = loop }

  func push(_ message: MemberMessage) {
    eventLoop.assertInEventLoop()
    state.withLock { $0.append(message) }
  }

  var messages: [MemberMessage] { state.withLock { $0 } }
  var assignments: [AssignmentMessage] {
    messages.compactMap { if case .assignment(let assignment) = $0 { assignment } else { nil } }
  }

  /// The first assignment that satisfies `condition`; nil after 10 s.
  func assignment(where condition: (AssignmentMessage) -> Bool = { _ in true }) async throws
    -> AssignmentMessage?
  {
    for _ in 0..<1_000 {
      if let found = assignments.first(where: condition) { return found }
      try await Task.sleep(for: .milliseconds(10))
    }
    return nil
  }
}

/// The coordinators on their log, without the services on top.
@Suite(.serialized) struct GroupDirectoryTests {
  private func commit(_ key: GroupKey, _ partition: TopicPartition, _ offset: Int64) -> GroupRequest {
    .commit(
      GroupCoordination.CommitRequest(
        group: key, member: nil, offsets: [OffsetCommit(partition: partition, offset: Offset(offset))]))
  }

  private func fetch(_ key: GroupKey, from test: TestBroker) async throws -> [TopicPartition: CommittedOffset]
  {
    let reply = try await test.broker.context.groups.ask(
      .fetchOffsets(GroupCoordination.FetchOffsetsRequest(group: key)), of: key)
    guard case .offsets(let offsets) = reply else { return [:] }
    return offsets
  }

  @Test func whatWasCommittedIsThereAfterAKillAndAfterAStop() async throws {
    var test = try await TestBroker.start()
    let connection = try await test.connect()
    let created: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "orders", partitions: 2))
    await connection.close()
    let topic = try #require(TopicID(created.topicID))
    let keys = (0..<40).map { GroupKey(tenant: "default", name: "group-\($0)") }
    #expect(Set(keys.map { $0.partition() }).count > 10)
    for (index, key) in keys.enumerated() {
      let partition = TopicPartition(topic: topic, partition: Int32(index % 2))
      let reply = try await test.broker.context.groups.ask(commit(key, partition, Int64(index)), of: key)
      guard case .committed(let results) = reply else {
        Issue.record("\(reply)")
        return
      }
      #expect(results == [nil])
    }
    for isKilled in [true, false] {
      if isKilled { await test.kill() } else { await test.stop() }
      test = try await TestBroker.start(folder: test.folder, identities: test.issuer)
      for (index, key) in keys.enumerated() {
        let offsets = try await fetch(key, from: test)
        #expect(offsets.values.map(\.offset) == [Offset(Int64(index))], "\(key) killed: \(isKilled)")
      }
      let facts = await test.broker.context.groups.facts()
      #expect(facts.count == 32 && facts.allSatisfy { $0.isActive && $0.fault == nil })
      #expect(facts.reduce(0) { $0 + $1.groups } == 40 && facts.reduce(0) { $0 + $1.offsets } == 40)
    }
    await test.remove()
  }

  @Test func membersEpochsSurviveAndTheirPartitionsWithThem() async throws {
    var test = try await TestBroker.start()
    var connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "orders", partitions: 6))
    let key = GroupKey(tenant: "default", name: "billing")
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    var groups = test.broker.context.groups
    let sink = RecordingSink(loop)
    let session = groups.attach(sink, to: key)
    let join = JoinRequest(
      group: key, memberID: "m1", processID: "p1",
      subscription: Subscription(names: ["orders"], patterns: ["inv.*"]))
    guard case .joined = try await groups.ask(.join(join, session), of: key) else { return }
    let first = try #require(try await sink.assignment { $0.partitions.count == 6 })
    #expect(first.revoke.isEmpty && first.epoch > 0)

    // A topic that the pattern matches comes, and is assigned.
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "invoices", partitions: 2))
    let second = try #require(try await sink.assignment { $0.partitions.count == 8 })
    #expect(second.epoch > first.epoch)
    await connection.close()

    await test.kill()
    test = try await TestBroker.start(folder: test.folder, identities: test.issuer)
    groups = test.broker.context.groups
    let later = RecordingSink(loop)
    let again = groups.attach(later, to: key)
    let heartbeat = GroupCoordination.Heartbeat(
      group: key, memberID: "m1", epoch: second.epoch, owned: second.partitions)
    guard case .alive(let epoch) = try await groups.ask(.heartbeat(heartbeat, again), of: key) else { return }
    #expect(epoch == second.epoch)

    // It grows, and another is deleted, as the member is told.
    connection = try await test.connect()
    let _: AddPartitionsResponse = try await connection.call(
      TopicsMethod.addPartitions, AddPartitionsRequest(name: "orders", partitions: 9))
    #expect(try await later.assignment { $0.partitions.count == 11 } != nil)
    let _: DeleteTopicResponse = try await connection.call(
      TopicsMethod.delete, DeleteTopicRequest(name: "invoices"))
    #expect(try await later.assignment { $0.partitions.count == 9 } != nil)
    await connection.close()
    await test.remove()
  }
}
