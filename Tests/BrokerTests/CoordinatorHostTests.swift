import CommitLog
import GroupCoordination
import NIOCore
import RecordFormat
import Simulation
import SkeinCore
import Testing

@testable import Broker

@Suite struct CoordinatorHostTests {
  @Test func nothingIsAnsweredBeforeItIsDurableAndOneTurnIsOneBatch() async throws {
    let harness = try await HostHarness()
    let answers = try await harness.ask(
      (0..<100).map { HostHarness.commit(Int64($0 + 1), partition: Int32($0)) })
    #expect(answers.allSatisfy { $0.result == nil }, "appended, not yet durable")
    let isAppended = try await harness.onLoop { _ in
      harness.log.highWatermark == .zero && harness.log.logEnd > Offset(100)
    }
    #expect(isAppended)
    try await harness.flush()
    #expect(answers.allSatisfy { $0.isCommitted })
    let batches = try await harness.onLoop { _ in
      guard case .memory(let batches, _) = try harness.log.read(from: .zero, maxBytes: 1 << 20) else {
        return 0
      }
      return batches.count
    }
    #expect(batches == 1)
    try await harness.close()
  }

  /// Power fails at one operation of the disk after another, whatever was under way.
  @Test func whatWasAnsweredSurvivesEveryCrash() async throws {
    var crashes = 0
    for operation in stride(from: 0, to: 100, by: 4) {
      let harness = try await HostHarness(seed: UInt64(operation))
      harness.disk.crash(atOperation: harness.disk.operations + operation)
      var asked: [HostHarness.Answer] = []
      do {
        for round in 0..<12 {
          for step in 0..<3 { asked.append(try await harness.commit(Int64(round * 3 + step + 1))) }
          try await harness.flush()
          if round % 4 == 3 { while try harness.directory.writeBehindStep() {} }
        }
      } catch is LogError {
        crashes += 1
      }
      let promised = asked.count { $0.isCommitted }
      try await harness.stop()
      harness.disk.crash(atOperation: nil)
      harness.disk.powerCut(seed: UInt64(operation))
      try await harness.open()
      #expect(try await harness.isActive())
      let found = Int(try await harness.committed() ?? 0)
      #expect(found >= promised && found <= asked.count, "crash at \(operation): \(promised), \(found)")
      // It goes on from there.
      let next = try await harness.commit(1_000)
      try await harness.flush()
      #expect(next.isCommitted)
      try await harness.close()
    }
    #expect(crashes > 5)
  }

  @Test func aLogWithoutRoomIsWaitedForInOrder() async throws {
    let harness = try await HostHarness { $0.maxQueuedBytes = 6 << 10 }
    let first = try await harness.commit(1, metadata: 4_000)
    var held: [HostHarness.Answer] = []
    for offset in 2...4 { held.append(try await harness.commit(Int64(offset), metadata: 4_000)) }
    #expect(try await harness.onLoop { $0.host.appends.heldBytes } > 8_000)
    try await harness.flush()
    #expect(first.isCommitted && held.allSatisfy { $0.result == nil })
    for _ in 0..<6 {
      await harness.pass(milliseconds: 25)
      try await harness.flush()
    }
    #expect(held.allSatisfy { $0.isCommitted })
    #expect(try await harness.committed() == 4)
    #expect(harness.host.counts.failedAppends.value == 0)
    try await harness.close()
  }

  @Test func afterAFailedAppendTheNextCoordinatorKnowsWhatTheLogHolds() async throws {
    let harness = try await HostHarness { $0.maxQueuedBytes = 6 << 10 }
    let first = try await harness.commit(1, metadata: 4_000)
    // The flusher hangs: no room comes.
    let doomed = try await harness.commit(2, metadata: 4_000)
    #expect(try await harness.committed() == 2, "proposed")
    for _ in 0..<600 where doomed.result == nil { await harness.pass(milliseconds: 20) }
    #expect(doomed.reason == .notCoordinator && first.reason == .notCoordinator)
    #expect(try await harness.commit(9).reason == .coordinatorLoading)
    await harness.pass(milliseconds: 200)
    #expect(try await !harness.isActive(), "what was appended may still become durable: it is awaited (G19)")
    try await harness.flush()
    try await harness.loaded()
    #expect(try await harness.isActive())
    #expect(try await harness.committed() == 1)
    let again = try await harness.commit(5)
    try await harness.flush()
    #expect(again.isCommitted)
    try await harness.close()
  }

  @Test func aRecordThatIsNotUnderstoodStopsThatPartitionWithItsPlace() async throws {
    for (key, value, word) in [
      ([9, 0], [1], "unknown type 9"), ([6], [7, 0, 0, 0, 0], "unknown version 7"),
      ([6], [1, 0], "too early"),
    ] as [([UInt8], [UInt8], String)] {
      let harness = try await HostHarness()
      _ = try await harness.commit(1)
      try await harness.flush()
      let base = try await harness.onLoop { harness in
        var builder = BatchBuilder()
        try builder.append(key: key, value: value, timestamp: 1_700_000_000_000)
        let batch = try builder.finish()
        let header = try batch.withUnsafeBytes { try BatchHeader(parsing: $0) }
        guard case .appended(let base, _, let entry) = try harness.log.append(batch, header: header) else {
          return Offset.zero
        }
        harness.directory.submit([entry])
        return base
      }
      try await harness.flush()
      try await harness.stop()
      try await harness.open()
      let fault = try await harness.onLoop { $0.host.facts.fault }
      #expect(
        fault?.reason == .dataCorrupt && fault?.message.contains(word) == true, "\(fault?.message ?? "")")
      #expect(fault?.metadata["offset"] == "\(base)" && fault?.metadata["partition"] == "0")
      #expect(try await harness.commit(2).reason == .dataCorrupt)
      try await harness.close()
    }
  }

  @Test func aStreamThatIsLostIsNotHeardAgain() async throws {
    let harness = try await HostHarness()
    let sink = RecordingSink(harness.loop)
    try await harness.onLoop { $0.host.attach(sink, SessionID(1)) }
    let join = JoinRequest(
      group: HostHarness.key, memberID: "m", processID: "p", subscription: Subscription(names: ["a"]))
    let joined = try await harness.ask([.join(join, SessionID(1))])[0]
    #expect(joined.result == nil && sink.messages.isEmpty)
    try await harness.flush()
    guard case .success(.joined) = joined.result else {
      Issue.record("\(String(describing: joined.result))")
      return
    }
    #expect(sink.assignments.count == 1)
    try await harness.onLoop { $0.host.lost(SessionID(1)) }
    let late = try await harness.ask([
      .heartbeat(Heartbeat(group: HostHarness.key, memberID: "m", epoch: 1), SessionID(1))
    ])[0]
    #expect(late.reason == .notCoordinator)
    // The grace passes: the member is removed, by the host's own timer.
    await harness.pass(milliseconds: 6_100)
    try await harness.flush()
    let isEmpty = try await harness.onLoop {
      $0.host.coordinator.table.groups[HostHarness.key]?.members.isEmpty == true
    }
    #expect(isEmpty)
    try await harness.close()
  }

  @Test func joinsOfOneTurnDivideTheGroupOnce() async throws {
    let harness = try await HostHarness()
    let sinks = (0..<40).map { _ in RecordingSink(harness.loop) }
    try await harness.onLoop { harness in
      for (index, sink) in sinks.enumerated() { harness.host.attach(sink, SessionID(UInt64(index + 1))) }
    }
    let joins = (0..<40).map { index in
      GroupRequest.join(
        JoinRequest(
          group: HostHarness.key, memberID: "m\(index)", processID: "p\(index)",
          subscription: Subscription(names: ["a"])), SessionID(UInt64(index + 1)))
    }
    let answers = try await harness.ask(joins)
    try await harness.flush()
    for answer in answers {
      guard case .success(.joined) = answer.result else {
        Issue.record("\(String(describing: answer.result))")
        return
      }
    }
    #expect(harness.host.counts.joined.value == 40 && harness.host.counts.rebalances.value == 1)
    #expect(sinks.allSatisfy { $0.assignments.count == 1 })
    // Who leaves in the turn in which it joins has joined before.
    let brief = JoinRequest(
      group: HostHarness.key, memberID: "brief", processID: "b", subscription: Subscription(names: ["a"]))
    let both = try await harness.ask([
      .join(brief, SessionID(1)), .leave(LeaveRequest(group: HostHarness.key, memberID: "brief")),
    ])
    try await harness.flush()
    for answer in both { #expect(answer.reason == nil && answer.result != nil) }
    #expect(harness.host.facts.members == 40 || harness.host.facts.members == 39)
    try await harness.close()
  }
}
