import SkeinCore
import Testing
import Wire

@testable import SkeinClient

/// A machine with hands and a clock, for tests that play the broker themselves.
final class ConsumerHarness {
  var machine: ConsumerMachine
  var now: Int64 = 1_000_000_000
  /// What the machine wanted since `take` was asked.
  var sent: [SubscribeRequest] = []
  var calls: [ConsumerMachine.Call] = []
  /// Who waited for a commit: the reason, or OK.
  var settled: [UInt64: String] = [:]
  var failedCommits: [(ConsumedPartition, SkeinError)] = []
  var reconnects = 0
  var ends = 0
  var total = CreditWindow.Amount()

  init(_ change: (inout ConsumerMachine.Options) -> Void = { _ in }) {
    var options = ConsumerMachine.Options(group: "g")
    options.window = .init(records: 1000, bytes: 100_000)
    change(&options)
    machine = ConsumerMachine(options: options, topics: ["t"], patterns: [], random: SeededRandom(1))
  }

  func drain() {
    for effect in machine.takeEffects() {
      switch effect {
      case .send(let request): sent.append(request)
      case .call(let call): calls.append(call)
      case .settled(let waiter, let error): settled[waiter] = error?.reason ?? "OK"
      case .commitFailed(let partition, let error): failedCommits.append((partition, error))
      case .reconnect: reconnects += 1
      case .sendEnd: ends += 1
      case .reset, .committed, .fenced: break
      }
    }
  }

  /// What was sent since the last time.
  func take() -> [SubscribeRequest] {
    drain()
    defer { sent = [] }
    return sent
  }

  // MARK: The broker

  /// A stream that is joined, and has these partitions.
  func join(_ partitions: [Int32], epoch: Int32 = 1) {
    open()
    assign(partitions, epoch: epoch)
  }

  func open() {
    machine.opened(now: now)
    total = .init()
    _ = machine.heard(now: now)
    machine.joined(
      SubscribeJoined(memberID: machine.memberID, heartbeatMs: 5_000, sessionMs: 45_000), now: now)
  }

  func assign(
    _ partitions: [Int32], revoke: [Int32] = [], epoch: Int32, joinEpoch: Int32 = 1, within: Int64 = 60_000,
    id: String = "1"
  ) {
    func lists(_ numbers: [Int32]) -> [TopicPartitions] {
      numbers.isEmpty ? [] : [TopicPartitions(topic: "t", partitions: numbers, topicID: id)]
    }
    _ = machine.heard(now: now)
    machine.assigned(
      SubscribeAssignment(
        epoch: epoch, joinEpoch: joinEpoch, partitions: lists(partitions), revoke: lists(revoke),
        revokeWithinMs: within), now: now)
  }

  /// Records `range` of a partition; each charges 10 bytes.
  func records(
    _ range: Range<Int64>, of partition: Int32 = 0, from: Int64 = 0, seek: UInt32 = 0, epoch: Int32 = 1
  ) throws {
    total.records += Int64(range.count)
    total.bytes += Int64(range.count) * 10
    _ = machine.heard(now: now)
    try machine.arrived(
      ReadBatches(
        topic: "t", partition: partition, baseOffset: range.lowerBound, nextOffset: range.upperBound,
        highWatermark: range.upperBound, leaderEpoch: epoch, totalMessages: UInt64(total.records),
        totalBytes: UInt64(total.bytes), seek: seek, fromOffset: from), bytes: .empty, now: now)
  }

  func answer(_ id: UInt64, _ faults: [Fault?] = []) {
    machine.committed(
      CommitResults(id: id, results: faults.map { PartitionError(topic: "t", error: $0?.status) }), now: now)
  }

  // MARK: The application

  /// The next chunk: its lease and the offsets that it shows.
  func chunk(isLoop: Bool = true) -> (lease: ConsumerLease, offsets: Range<Int64>, ReceivedChunk)? {
    guard case .chunk(let lease, let chunk) = machine.take(isLoop: isLoop, now: now) else { return nil }
    return (lease, chunk.visible.lowerBound..<chunk.nextOffset, chunk)
  }

  func step(_ lease: ConsumerLease, processed: Int64? = nil, taking next: Int64?) -> Bool {
    machine.step(
      lease, processed: processed.map { ReadPosition(offset: $0) },
      taking: next.map { ReadPosition(offset: $0) },
      now: now)
  }

  func dispatch(_ lease: ConsumerLease, _ offset: Int64) -> RecordTicket? {
    machine.dispatch(lease, offset: offset, epoch: 1, now: now)
  }

  func mayBegin(_ ticket: RecordTicket) -> Bool { machine.mayBegin(ticket, now: now) }

  func acknowledge(_ offset: Int64) -> Bool { machine.acknowledge(p(0), offset, now: now) }

  func heard() -> Bool { machine.heard(now: now) }

  func next() -> ConsumerMachine.Taken { machine.take(isLoop: true, now: now) }

  func commit(_ request: ConsumerMachine.CommitRequest, waiter: UInt64?) throws(SkeinError) {
    try machine.commit(request, waiter: waiter, now: now)
  }

  /// Takes a whole chunk and processes it.
  func process() -> (partition: Int32, offsets: Range<Int64>)? {
    guard let (lease, offsets, chunk) = chunk() else { return nil }
    var inHand: ReadPosition?
    for offset in offsets {
      guard
        machine.step(
          lease, processed: inHand, taking: ReadPosition(offset: offset + 1, leaderEpoch: 1), now: now)
      else { return nil }
      inHand = ReadPosition(offset: offset + 1, leaderEpoch: 1)
    }
    machine.finish(lease, upTo: ReadPosition(offset: offsets.upperBound, leaderEpoch: 1), now: now)
    return (chunk.partition, offsets)
  }

  func pass(milliseconds: Int64) {
    now += milliseconds * 1_000_000
    machine.tick(now: now)
  }

  func p(_ number: Int32) -> ConsumedPartition { ConsumedPartition("t", number) }

  func commits() -> [MemberCommit] { take().compactMap(\.commit) }
}

extension MemberCommit {
  var offsetList: [Int64] { offsets.map(\.offset) }
}
