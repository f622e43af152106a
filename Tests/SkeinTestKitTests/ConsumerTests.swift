import SkeinClient
import SkeinTestKit
import Synchronization
import Testing

/// What a member of a group is promised, against a real broker. Members that fail, and brokers that do, are in
/// `ConsumerFailureTests`.
@Suite(.timeLimit(.minutes(2))) struct ConsumerTests {
  @Test func readsWhatIsThereInOrderAndGoesOnWhereItWas() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 2, count: 50)
      let first = try await client.consumer(group: "g", topics: ["t"])
      let before = try await take(70, of: first)
      await first.close()
      let second = try await client.consumer(group: "g", topics: ["t"])
      // The record in hand at the break was not processed: it comes again.
      let after = try await take(31, of: second)
      await second.close()
      for partition in [0, 1] as [Int32] {
        let offsets = (before.dropLast() + after).filter { $0.partition == partition }.map(\.offset)
        #expect(offsets == Array(0..<50), "a gap or a repeat")
      }
    }
  }

  /// Leaves the loop with the last of them in hand.
  private func take(_ count: Int, of consumer: Consumer) async throws -> [ConsumedRecord] {
    var records: [ConsumedRecord] = []
    for try await record in consumer {
      records.append(record)
      if records.count == count { break }
    }
    return records
  }

  @Test func aSecondLoopGoesOnWithWhatTheFirstLeft() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 40)
      let consumer = try await client.consumer(group: "g", topics: ["t"])
      var offsets: [Int64] = []
      for try await record in consumer {
        offsets.append(record.offset)
        if offsets.count == 7 { break }
      }
      for try await batch in consumer.batches {
        try batch.forEachRecord { offsets.append($0.offset) }
        if batch.nextOffset == 40 { break }
      }
      #expect(offsets == Array(0..<7) + Array(6..<40))
      await consumer.close()
    }
  }

  @Test func twoMembersShareAndOneTakesOverWhenTheOtherLeaves() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 8, count: 50)
      let ledgers = [Ledger(), Ledger()]
      let all = Ledger()
      let first = try await client.consumer(group: "g", topics: ["t"])
      let second = try await client.consumer(group: "g", topics: ["t"])
      // Each has its share before anything is read.
      try await eventually { first.assignment.count == 4 && second.assignment.count == 4 }
      #expect(Set(first.assignment).isDisjoint(with: second.assignment))
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (number, consumer) in [first, second].enumerated() {
          group.addTask {
            for try await record in consumer {
              ledgers[number].add(record)
              all.add(record)
            }
          }
        }
        try await eventually { all.total == 400 }
        #expect(all.isExactly(8, 50) && ledgers[0].total == 200 && ledgers[1].total == 200)
        let shares = Set(second.assignment)
        let clock = ContinuousClock()
        let started = clock.now
        await second.close()
        try await eventually { first.assignment.count == 8 }
        #expect(clock.now - started < .seconds(3), "a leave is not waited for")
        try await fillGroupTopic(client, "t", partitions: 8, count: 10, creating: false)
        try await eventually { all.total == 480 }
        #expect(all.isExactly(8, 60), "nothing twice, nothing lost")
        #expect(shares.allSatisfy { ledgers[0].offsets($0.partition) == Array(50..<60) })
        await first.close()
        try await group.waitForAll()
      }
    }
  }

  @Test func aJoinTakesOverWithoutRepeatingAndCallsRevoked() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 4, count: 200)
      let all = Ledger()
      let calls = Mutex<(assigned: [ConsumedPartition], revoked: [ConsumedPartition])>(([], []))
      var configuration = ConsumerConfiguration()
      configuration.commitInterval = nil
      let box = Mutex<Consumer?>(nil)
      configuration.rebalance = RebalanceHandlers(
        assigned: { partitions in calls.withLock { $0.assigned += partitions } },
        revoked: { partitions in
          calls.withLock { $0.revoked += partitions }
          // Manual commits: the last chance.
          try? await box.withLock { $0 }?.commit()
        })
      let first = try await client.consumer(group: "g", topics: ["t"], configuration)
      box.withLock { $0 = first }
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          for try await record in first {
            all.add(record)
            try await Task.sleep(for: .milliseconds(1))
          }
        }
        try await eventually { all.total > 20 }
        let second = try await client.consumer(group: "g", topics: ["t"])
        group.addTask { for try await record in second { all.add(record) } }
        try await eventually { all.total >= 800 }
        #expect(all.isExactly(4, 200), "what was processed was committed before it was given back")
        #expect(calls.withLock { $0.assigned.count } == 4 && calls.withLock { $0.revoked.count } == 2)
        await first.close()
        await second.close()
        try await group.waitForAll()
      }
    }
  }

  @Test func manualCommitsSayWhereItGoesOn() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 60)
      var configuration = ConsumerConfiguration()
      configuration.commitInterval = nil
      let place = ConsumedPartition("t", 0)
      func firstOffset(_ body: (Consumer, ConsumedRecord) async throws -> Bool) async throws -> Int64? {
        let consumer = try await client.consumer(group: "g", topics: ["t"], configuration)
        var first: Int64?
        for try await record in consumer {
          first = first ?? record.offset
          if try await body(consumer, record) { break }
        }
        await consumer.close()
        return first
      }
      #expect(try await firstOffset { _, record in record.offset == 30 } == 0)
      let second = try await firstOffset { consumer, record in
        if record.offset == 11 { try await consumer.commit(record) }
        return record.offset == 40
      }
      #expect(second == 0, "nothing was committed")
      let third = try await firstOffset { consumer, record in
        guard record.offset == 20 else { return false }
        try await consumer.commit()
        #expect(try await client.admin.committed("g") == [0: 20])
        try await consumer.commit([place: ReadPosition(offset: 33)], metadata: "here")
        await #expect(throws: SkeinError.self) {
          try await consumer.commit([place: ReadPosition(offset: 32)])
        }
        await #expect(throws: SkeinError.self) {
          try await consumer.commit([ConsumedPartition("t", 9): ReadPosition(offset: 1)])
        }
        return true
      }
      #expect(third == 12)
      #expect(try await client.admin.fetchOffsets(group: "g").map(\.metadata) == ["here"])
      let fourth = try await firstOffset { consumer, record in
        guard record.offset == 50 else { return false }
        try consumer.commitSoon(record)
        return true
      }
      #expect(fourth == 33)
      #expect(try await client.admin.committed("g") == [0: 51], "a close waits for it")
    }
  }

  @Test func anAutomaticCommitNeverCoversWhatIsInHand() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 60)
      var configuration = ConsumerConfiguration()
      configuration.commitInterval = .milliseconds(20)
      let consumer = try await client.consumer(group: "g", topics: ["t"], configuration)
      for try await record in consumer {
        guard record.offset == 20 else { continue }
        try await eventually { try await client.admin.committed("g") == [0: 20] }
        try await Task.sleep(for: .milliseconds(100))
        #expect(try await client.admin.committed("g") == [0: 20])
        #expect(consumer.processed[record.source]?.offset == 20)
        #expect(consumer.positions[record.source]?.offset == 21)
        break
      }
      await consumer.close()
      #expect(try await client.admin.committed("g") == [0: 20])
    }
  }

  @Test func pausesAndSeeks() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 2, count: 100)
      let consumer = try await client.consumer(group: "g", topics: ["t"])
      let paused = ConsumedPartition("t", 0)
      var seen: [Int32: [Int64]] = [0: [], 1: []]
      var isPaused = false
      for try await record in consumer {
        seen[record.partition]?.append(record.offset)
        if record.partition == 0, record.offset == 10, !isPaused {
          try consumer.pause([paused])
          isPaused = true
        }
        if record.partition == 1, record.offset == 99 {
          #expect(seen[0]?.count ?? 0 <= 11)
          if !isPaused { continue }
          try consumer.resume()
        }
        if seen[0]?.last == 99 && seen[1]?.last == 99 { break }
      }
      #expect(seen[0] == Array(0..<100) && seen[1] == Array(0..<100))
      try consumer.seek([paused: ReadPosition(offset: 97)])
      var again: [Int64] = []
      for try await record in consumer where record.partition == 0 {
        again.append(record.offset)
        if record.offset == 99 { break }
      }
      #expect(again == [97, 98, 99])
      try await consumer.seek(to: .beginning, partitions: [paused])
      for try await record in consumer where record.partition == 0 {
        #expect(record.offset == 0)
        break
      }
      #expect(throws: SkeinError.self) { try consumer.pause([ConsumedPartition("t", 7)]) }
      await consumer.close()
    }
  }

  @Test func aCancelledTaskLeavesItsGroup() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 2, count: 30)
      let all = Ledger()
      let first = try await client.consumer(group: "g", topics: ["t"])
      let task = Task { for try await record in first { all.add(record) } }
      try await eventually { all.total == 60 }
      task.cancel()
      try await task.value
      // What the loop had in hand when it asked for more is processed.
      #expect(try await client.admin.committed("g") == [0: 30, 1: 30])
      #expect(try await client.admin.describeGroup("g").members.isEmpty)
    }
  }

  @Test func aConsumerThatIsDroppedLeaves() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 30)
      func use() async throws {
        let consumer = try await client.consumer(group: "g", topics: ["t"])
        var count = 0
        for try await _ in consumer {
          count += 1
          if count == 20 { break }
        }
      }
      try await use()
      try await eventually { try await client.admin.describeGroup("g").members.isEmpty }
      #expect(try await client.admin.committed("g") == [0: 19])
    }
  }

  @Test(arguments: [ConsumerOrdering.key, .partition])
  func handlersSideBySideKeepTheOrder(_ ordering: ConsumerOrdering) async throws {
    struct Order: Sendable {
      var last: [String: Int] = [:]
      var running = 0
      var most = 0
      var busy: Set<String> = []
      var isBroken = false
    }
    try await TestBroker.run { _, client in
      let partitions: Int32 = ordering == .key ? 1 : 4
      try await fillGroupTopic(client, "t", partitions: partitions, count: 100)
      let consumer = try await client.consumer(group: "g", topics: ["t"])
      let order = Mutex(Order())
      let all = Ledger()
      let run = Task {
        try await consumer.run(concurrency: 4, ordering: ordering) { record in
          let key = String(decoding: record.key ?? [], as: UTF8.self)
          let unit = ordering == .key ? "\(record.partition) \(key)" : "\(record.partition)"
          let value = Int(record.offset)
          order.withLock { order in
            order.running += 1
            order.most = max(order.most, order.running)
            if !order.busy.insert(unit).inserted || order.last[unit] ?? -1 >= value { order.isBroken = true }
            order.last[unit] = value
          }
          try await Task.sleep(for: .milliseconds(1))
          order.withLock { order in
            order.running -= 1
            order.busy.remove(unit)
          }
          all.add(record)
        }
      }
      try await eventually { all.total == Int(partitions) * 100 }
      await consumer.close()
      try await run.value
      #expect(order.withLock { $0.most } > 1, "they ran side by side")
      #expect(!order.withLock { $0.isBroken }, "order within \(ordering)")
      #expect(try await client.admin.committed("g").values.allSatisfy { $0 == 100 })
    }
  }

  @Test(arguments: [ConsumerOrdering.key, .partition])
  func aHandlerThatThrowsEndsTheRunAndItsRecordComesAgain(_ ordering: ConsumerOrdering) async throws {
    struct Refusal: Error {}
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 50)
      let consumer = try await client.consumer(group: "g", topics: ["t"])
      await #expect(throws: Refusal.self) {
        try await consumer.run(concurrency: 3, ordering: ordering) { record in
          if record.offset == 23 { throw Refusal() }
        }
      }
      // Side by side, what had not begun before it was dropped, too.
      let committed = try await client.admin.committed("g")[0] ?? 0
      #expect(ordering == .key ? committed <= 23 : committed == 23)
      #expect(try await client.admin.describeGroup("g").members.isEmpty)
    }
  }

  @Test func aStaticMemberComesBackToWhatItHad() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 4, count: 5)
      func member(_ name: String) async throws -> Consumer {
        var configuration = ConsumerConfiguration()
        configuration.instanceID = name
        return try await client.consumer(group: "g", topics: ["t"], configuration)
      }
      let first = try await member("a")
      let second = try await member("b")
      try await eventually { first.assignment.count == 2 && second.assignment.count == 2 }
      let had = second.assignment
      await second.close()
      try await Task.sleep(for: .milliseconds(100))
      #expect(first.assignment.count == 2, "they wait for it")
      let again = try await member("b")
      try await eventually { again.assignment == had }
      await again.close(comesBack: false)
      try await eventually { first.assignment.count == 4 }
      await first.close()
    }
  }

  @Test func patternsLabelsAndAnotherSubscription() async throws {
    try await TestBroker.run { _, client in
      for topic in ["orders.eu", "orders.us", "mail"] {
        try await client.admin.createTopic(topic, partitions: 1)
      }
      var configuration = ConsumerConfiguration()
      configuration.labels = ["zone": "a"]
      configuration.clientID = "billing-1"
      let consumer = try await client.consumer(group: "g", patterns: ["orders\\..*"], configuration)
      try await eventually { Set(consumer.assignment.map(\.topic)) == ["orders.eu", "orders.us"] }
      let member = try #require(try await client.admin.describeGroup("g").members.first)
      #expect(member.labels == ["zone": "a"] && member.client.contains("billing-1"))
      try consumer.subscribe(topics: ["mail"])
      try await eventually { consumer.assignment.map(\.topic) == ["mail"] }
      await consumer.close()
    }
  }

  @Test func lagIsTold() async throws {
    try await TestBroker.run { _, client in
      try await fillGroupTopic(client, "t", partitions: 1, count: 50)
      let consumer = try await client.consumer(group: "g", topics: ["t"])
      var count = 0
      for try await record in consumer {
        count += 1
        if count == 20 {
          try await consumer.commit(record)
          consumer.extend()
          try await eventually {
            consumer.extend()
            return consumer.lag[record.source]?.records == 30
          }
          #expect(consumer.lag[record.source]?.committedOffset == 20)
          break
        }
      }
      await consumer.close()
    }
  }
}
