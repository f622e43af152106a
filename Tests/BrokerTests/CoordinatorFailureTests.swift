import CommitLog
import GroupCoordination
import Simulation
import SkeinCore
import Testing

@testable import Broker

/// What members were told, across power cuts and a disk without room.
@Suite struct CoordinatorFailureTests {
  private static let topic = TopicID(high: 1, low: 1)

  private func join(_ id: String, _ session: UInt64) -> GroupRequest {
    .join(
      JoinRequest(
        group: HostHarness.key, memberID: id, processID: "p-" + id,
        subscription: Subscription(names: ["a"])), SessionID(session))
  }

  private func heartbeat(
    _ id: String, _ session: UInt64, _ epoch: Int32, owned: Set<TopicPartition>? = nil
  ) -> GroupRequest {
    .heartbeat(
      Heartbeat(group: HostHarness.key, memberID: id, epoch: epoch, owned: owned), SessionID(session))
  }

  private func attach(_ sinks: [RecordingSink], to harness: HostHarness) async throws {
    try await harness.onLoop { harness in
      for (index, sink) in sinks.enumerated() { harness.host.attach(sink, SessionID(UInt64(index + 1))) }
    }
  }

  private func resolve(_ harness: HostHarness) async throws {
    let topics = GroupTopics(topics: [.init(name: "a", id: Self.topic, partitions: 6)])
    try await harness.onLoop { $0.host.enqueue(.topicsResolved(HostHarness.key, topics)) }
  }

  private func isJoined(_ answer: HostHarness.Answer) -> Bool {
    if case .success(.joined) = answer.result { true } else { false }
  }

  /// The process ends between a join and its record: nobody was told anything, and there is no such member.
  @Test func aJoinThatWasNotRecordedNeverHappened() async throws {
    let harness = try await HostHarness()
    let sink = RecordingSink(harness.loop)
    try await attach([sink], to: harness)
    let joined = try await harness.ask([join("m", 1)])[0]
    #expect(joined.result == nil && sink.messages.isEmpty)
    try await harness.stop()
    harness.disk.powerCut(seed: 1)
    try await harness.open()
    #expect(joined.reason == .draining && sink.messages.isEmpty)
    #expect(try await harness.onLoop { $0.host.coordinator.table.groups.isEmpty })
    // The same join again, as a client repeats it.
    try await attach([sink], to: harness)
    let again = try await harness.ask([join("m", 1)])[0]
    try await harness.flush()
    #expect(isJoined(again) && sink.assignments.count == 1)
    try await harness.close()
  }

  /// Four members come one after the other and give each other partitions, while power fails at one operation of the
  /// disk after another. Whoever was told of a partition has it afterwards, under the epoch that it was told.
  @Test func whoWasToldOfPartitionsHasThemAfterEveryCrash() async throws {
    var (crashes, told) = (0, 0)
    for operation in 0..<18 {
      let harness = try await HostHarness(seed: UInt64(operation))
      let sinks = (0..<4).map { _ in RecordingSink(harness.loop) }
      try await attach(sinks, to: harness)
      harness.disk.crash(atOperation: harness.disk.operations + operation)
      var joins: [HostHarness.Answer] = []
      do {
        for number in 0..<4 {
          joins += try await harness.ask([join("m\(number)", UInt64(number + 1))])
          try await resolve(harness)
          for _ in 0..<3 {
            try await harness.flush()
            // Everybody gives back what it is asked for.
            for (index, sink) in sinks.enumerated() {
              guard let newest = sink.assignments.last, !newest.revoke.isEmpty else { continue }
              _ = try await harness.ask([
                heartbeat("m\(index)", UInt64(index + 1), newest.epoch, owned: newest.partitions)
              ])
            }
          }
          while try harness.directory.writeBehindStep() {}
        }
      } catch is LogError {
        crashes += 1
      }
      let newest = sinks.map(\.assignments.last)
      try await harness.stop()
      harness.disk.crash(atOperation: nil)
      harness.disk.powerCut(seed: UInt64(operation))
      try await harness.open()
      #expect(try await harness.isActive())
      let group = try await harness.onLoop { $0.host.coordinator.table.groups[HostHarness.key] }
      for (index, answer) in joins.enumerated() where isJoined(answer) {
        #expect(group?.members["m\(index)"] != nil, "crash at \(operation): m\(index) had joined")
      }
      var owners: Set<TopicPartition> = []
      for member in group?.members.values.map({ $0 }) ?? [] {
        for partition in Set(member.assignment.assigned.keys).union(member.assignment.revoking.keys) {
          #expect(owners.insert(partition).inserted, "crash at \(operation): \(partition) has two owners")
        }
      }
      let later = (0..<4).map { _ in RecordingSink(harness.loop) }
      try await attach(later, to: harness)
      for (index, message) in newest.enumerated() {
        guard let message else { continue }
        told += message.partitions.count
        let member = try #require(group?.members["m\(index)"], "crash at \(operation)")
        #expect(member.assignment.epoch >= message.epoch)
        #expect(message.partitions.allSatisfy { member.assignment.grantEpoch($0) != nil })
        // It comes back with what it has, and goes on.
        let owned = message.partitions.union(message.revoke)
        let answer = try await harness.ask([
          heartbeat("m\(index)", UInt64(index + 1), message.epoch, owned: owned)
        ])[0]
        try await harness.flush()
        #expect(answer.reason == nil && answer.result != nil)
      }
      try await harness.close()
    }
    #expect(crashes > 9 && told > 20, "\(crashes) crashes, told of \(told) partitions")
  }

  /// Nothing can be appended: what must be is refused with the cure, members are heard, and the coordinator stays.
  @Test func aFullDiskRefusesWhatItCouldNotKeep() async throws {
    let harness = try await HostHarness()
    let sinks = (0..<2).map { _ in RecordingSink(harness.loop) }
    try await attach(sinks, to: harness)
    _ = try await harness.ask([join("m0", 1), join("m1", 2)])
    try await harness.flush()
    try await resolve(harness)
    try await harness.flush()
    let epochs = try sinks.map { try #require($0.assignments.last).epoch }
    harness.disk.setCapacity(0)
    _ = try harness.directory.maintenanceStep()
    let leave = LeaveRequest(group: HostHarness.key, memberID: "m0")
    for request in [
      HostHarness.commit(1), join("m9", 1), .leave(leave), .deleteGroup(HostHarness.key),
      .resetOffsets(HostHarness.key, [], dryRun: false),
    ] as [GroupRequest] {
      let refused = try await harness.ask([request])[0]
      guard case .failure(let fault) = refused.result else {
        Issue.record("\(request) was not refused")
        continue
      }
      #expect(fault.reason == .diskFull && fault.retryAfterMilliseconds == 1_000)
    }
    // Longer than a session: the first is heard, the second is silent, and a topic grows.
    for _ in 0..<6 {
      await harness.pass(milliseconds: 10_000)
      let alive = try await harness.ask([heartbeat("m0", 1, epochs[0])])[0]
      guard case .success(.alive) = alive.result else {
        Issue.record("\(String(describing: alive.result))")
        break
      }
      let topics = GroupTopics(topics: [.init(name: "a", id: Self.topic, partitions: 8)])
      try await harness.onLoop {
        $0.host.enqueue(.topicsResolved(HostHarness.key, topics))
        $0.host.enqueue(.topicDeleted(TopicID(high: 7, low: 7)))
        $0.host.enqueue(.expireOffsets)
      }
    }
    #expect(try await harness.isActive() && harness.host.counts.failedAppends.value == 0)
    #expect(harness.host.facts.members == 2, "who is overdue leaves later")
    harness.disk.setCapacity(1 << 40)
    _ = try harness.directory.maintenanceStep()
    await harness.pass(milliseconds: 1_100)
    try await harness.flush()
    let group = try await harness.onLoop { $0.host.coordinator.table.groups[HostHarness.key] }
    #expect(group?.members.keys.map { $0 } == ["m0"])
    #expect(group?.members["m0"]?.assignment.assigned.count == 8)
    #expect(harness.host.postponed.isEmpty)
    try await harness.close()
  }

  /// As many as come together are bounded: what one group's joins lead to is one append.
  @Test func joinsThatComeTogetherAreBounded() async throws {
    let harness = try await HostHarness { $0.maxQueuedBytes = 64 << 20 }
    let count = GatheredJoins.maximumCount + 200
    let sink = RecordingSink(harness.loop)
    try await harness.onLoop { harness in
      for number in 0..<count { harness.host.attach(sink, SessionID(UInt64(number + 1))) }
    }
    let names = (0..<20).map { "topic-\($0)" }
    let joins = (0..<count).map { number in
      GroupRequest.join(
        JoinRequest(
          group: GroupKey(tenant: "t", name: "g\(number % 2)"), memberID: "m\(number)", processID: "p",
          subscription: Subscription(names: number < 600 ? names : ["a"])), SessionID(UInt64(number + 1)))
    }
    let answers = try await harness.ask(joins)
    try await harness.flush()
    #expect(answers.allSatisfy(isJoined))
    // Twice full (by bytes, then at the end), two groups each: far fewer divisions than joins.
    let rebalances = harness.host.counts.rebalances.value
    #expect(rebalances >= 4 && rebalances <= 12, "\(rebalances)")
    var gathered = GatheredJoins()
    let small = JoinRequest(
      group: HostHarness.key, memberID: "m", processID: "p", subscription: Subscription(names: ["a"]))
    var added = 0
    while !gathered.isFull, added < 2_000 {
      gathered.add((small, SessionID(1), ReplyToken(1)))
      added += 1
    }
    #expect(added == GatheredJoins.maximumCount)
    #expect(gathered.take().count == 1 && gathered.isEmpty)
    try await harness.close()
  }
}
