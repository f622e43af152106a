import CommitLog
import GroupCoordination
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import RecordFormat
import Simulation
import SkeinCore
import Testing

@testable import Broker

/// One coordinator on a simulated disk, with time, loop and flusher in the test's hand.
///
/// `@unchecked Sendable`: one test at a time; what belongs to the loop is touched on it only.
private final class HostHarness: @unchecked Sendable {
  static let key = GroupKey(tenant: "t", name: "g")
  static let partition = TopicPartition(topic: TopicID(high: 9, low: 9), partition: 0)
  let disk: SimulatedDisk
  let time = SimulatedTime()
  let loop = NIOAsyncTestingEventLoop()
  private let random = SeededRandom(seed: 1)
  private(set) var directory: LogDirectory!
  private(set) var host: CoordinatorHost!
  private let adjust: (inout LogConfiguration) -> Void

  init(seed: UInt64 = 1, adjust: @escaping (inout LogConfiguration) -> Void = { _ in }) async throws {
    disk = SimulatedDisk(seed: seed)
    self.adjust = adjust
    try await open()
  }

  /// A broker's start: the log is recovered, the coordinator reads it.
  func open() async throws {
    var configuration = LogConfiguration(clusterID: "test")
    configuration.journal.fileSize = 256 << 10
    configuration.journal.fileCount = 4
    configuration.reserveBytes = 1 << 20
    configuration.emergencyBytes = 64 << 10
    adjust(&configuration)
    directory = nil
    directory = try LogDirectory.open(disk: disk, configuration: configuration, time: time, random: random)
    let shard = PartitionShard(
      loop: loop, directory: directory, time: time, ioPool: .singleton, budget: MemoryBudget(limit: 64 << 20),
      notifyFlusher: {})
    let log = directory.createPartition(Self.partition, settings: PartitionSettings())
    host = CoordinatorHost(
      key: Self.partition, shard: shard,
      seams: CoordinatorHost.Seams(
        configuration: GroupConfiguration(), time: time,
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, resolve: { _, _ in },
        existingTopics: { [TopicID(high: 1, low: 1)] }))
    try await onLoop { harness in
      harness.host.shard.add(log)
      harness.host.load()
    }
    try await loaded()
  }

  /// Waits for the log to be read, part of which happens on another thread.
  func loaded() async throws {
    for _ in 0..<2_000 where try await onLoop({ if case .loading = $0.host.phase { true } else { false } }) {
      try await Task.sleep(for: .milliseconds(1))
      await loop.run()
    }
  }

  @discardableResult
  func onLoop<T: Sendable>(_ body: @escaping @Sendable (HostHarness) throws -> T) async throws -> T {
    let result = try await loop.executeInContext { try body(self) }
    await loop.run()
    return result
  }

  func flush() async throws {
    let advances = Unchecked(try directory.flushStep())
    try await onLoop { $0.host.shard.advance(advances.value) }
  }

  func pass(milliseconds: Int64) async {
    time.advance(milliseconds: milliseconds)
    await loop.advanceTime(by: .milliseconds(milliseconds))
  }

  /// What a request was answered, once it was.
  final class Answer: @unchecked Sendable {  // written on the loop, which runs only while the test waits for it
    var result: Result<GroupReply, Fault>?
    var isCommitted: Bool {
      if case .success(.committed(let results)) = result { return results.allSatisfy { $0 == nil } }
      return false
    }
    var reason: Reason? { if case .failure(let fault) = result { fault.reason } else { nil } }
  }

  /// Asked in one turn of the loop.
  func ask(_ requests: [GroupRequest]) async throws -> [Answer] {
    try await onLoop { harness in
      requests.map { request in
        let answer = Answer()
        harness.host.ask(request, GroupAnswer(loop: harness.loop, receive: { answer.result = $0 }))
        return answer
      }
    }
  }

  static func commit(_ offset: Int64, partition: Int32 = 0, metadata: Int = 0) -> GroupRequest {
    let position = TopicPartition(topic: TopicID(high: 1, low: 1), partition: partition)
    return .commit(
      CommitRequest(
        group: key, member: nil,
        offsets: [
          OffsetCommit(
            partition: position, offset: Offset(offset), metadata: String(repeating: "x", count: metadata))
        ]))
  }

  func commit(_ offset: Int64, metadata: Int = 0) async throws -> Answer {
    try await ask([Self.commit(offset, metadata: metadata)])[0]
  }

  func committed(_ partition: Int32 = 0) async throws -> Int64? {
    let position = TopicPartition(topic: TopicID(high: 1, low: 1), partition: partition)
    return try await onLoop {
      $0.host.coordinator.table.groups[Self.key]?.offsets[position]?.offset.rawValue
    }
  }

  func isActive() async throws -> Bool {
    try await onLoop { if case .active = $0.host.phase { true } else { false } }
  }

  var log: PartitionLog { directory.createPartition(Self.partition, settings: PartitionSettings()) }

  /// The process ends, wherever it is.
  func stop() async throws {
    try await onLoop { $0.host.close() }
    directory.abandon()
  }

  func close() async throws {
    try await stop()
    await loop.shutdownGracefully()
  }
}

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
