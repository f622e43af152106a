import SkeinCore
import Testing

@testable import SkeinClient

/// Single steps of the producer's machine.
@Suite struct ProducerMachineTests {
  private static let second: Int64 = 1_000_000_000

  private func machine(lanes: Int = 1, window: Int? = 2) -> ProducerMachine {
    var machine = ProducerMachine(random: SeededRandom(7), resequence: ModelBatch.resequence)
    for lane in 0..<lanes { _ = machine.addLane(topic: "t", partition: Int32(lane)) }
    if let window { machine.streamOpened(window: window) }
    return machine
  }

  private func enqueue(
    _ machine: inout ProducerMachine, lane: Int = 0, records: [UInt64], number: UInt64 = 0,
    deadline: Int64 = .max
  ) {
    let sequence = machine.reserveSequence(lane: lane, count: Int32(records.count))
    machine.enqueue(
      OutboundBatch(
        payload: ModelBatch.encode(sequence: sequence, records: records), baseSequence: sequence,
        recordCount: Int32(records.count), chargedBytes: 10, deadline: deadline, generation: 1,
        number: number, ticket: BatchTicket()), lane: lane)
  }

  private func appended(_ offset: Int64 = 0) -> ProducerMachine.Answer {
    .appended(BatchAcknowledgement(baseOffset: offset, isDuplicate: false))
  }

  @Test func neverSendsBeyondTheWindowOfAPartition() {
    var machine = machine(lanes: 2)
    for n in 0..<4 { enqueue(&machine, records: [UInt64(n)]) }
    enqueue(&machine, lane: 1, records: [9])
    var sent: [ProducerMachine.Sending] = []
    while let sending = machine.nextSending() { sent.append(sending) }
    #expect(sent.filter { $0.partition == 0 }.count == 2)
    #expect(sent.filter { $0.partition == 1 }.count == 1)
    let (lane, completions) = machine.answered(sent[0].requestID, appended(), now: 0)
    #expect(lane == 0 && completions.count == 1)
    #expect(machine.nextSending() != nil)
    #expect(machine.nextSending() == nil)
  }

  @Test func sequencesWrapToZero() {
    #expect(ProducerMachine.advance(.max, by: 1) == 0)
    #expect(ProducerMachine.advance(.max - 1, by: 5) == 3)
  }

  @Test func resendsUnchangedAfterALostStream() {
    var machine = machine()
    enqueue(&machine, records: [1, 2])
    let first = machine.nextSending()
    #expect(machine.streamLost().isEmpty)
    #expect(machine.nextSending() == nil)
    machine.streamOpened(window: 2)
    let again = machine.nextSending()
    #expect(first?.payload.array == again?.payload.array)
    #expect(again?.requestID == 1)
  }

  @Test func anUnknownOutcomeIsNeverRenumbered() {
    var machine = machine()
    enqueue(&machine, records: [1], number: 1)
    enqueue(&machine, records: [2], number: 2)
    _ = machine.nextSending()
    _ = machine.nextSending()
    _ = machine.streamLost()
    machine.streamOpened(window: 2)
    guard let head = machine.nextSending(), let tail = machine.nextSending() else {
      Issue.record("nothing is resent")
      return
    }
    _ = machine.answered(head.requestID, .refused(SkeinError(.batchTooLarge, "")), now: 0)
    let (_, completions) = machine.answered(
      tail.requestID, .refused(SkeinError(.outOfOrderSequence, "")), now: 0)
    #expect(machine.failure != nil)
    #expect(completions.count == 2)
    #expect(completions.allSatisfy { (try? $0.result.get()) == nil })
  }

  @Test func whatFollowsARefusedBatchIsRenumberedAndSent() {
    var machine = machine()
    enqueue(&machine, records: [1, 2, 3])
    enqueue(&machine, records: [4])
    guard let head = machine.nextSending(), let tail = machine.nextSending() else { return }
    #expect(
      machine.answered(head.requestID, .refused(SkeinError(.batchTooLarge, "")), now: 0).completions.isEmpty)
    let completions = machine.answered(
      tail.requestID, .refused(SkeinError(.unknownProducer, "")), now: 0
    ).completions
    #expect(completions.count == 1)
    #expect(machine.failure == nil)
    let again = machine.nextSending()
    #expect(again.map { ModelBatch.decode($0.payload) }?.sequence == 0)
    #expect(again.map { ModelBatch.decode($0.payload) }?.records == [4])
    #expect(machine.reserveSequence(lane: 0, count: 1) == 1)
  }

  @Test func waitsBeforeItRetriesAndNoLongerThanNeeded() {
    var machine = machine()
    enqueue(&machine, records: [1])
    guard let sending = machine.nextSending() else { return }
    let fault = Fault(.overloaded, "", retryAfterMilliseconds: 700)
    _ = machine.answered(sending.requestID, .refused(SkeinError(fault)), now: 0)
    _ = machine.tick(now: 699_000_000)
    #expect(machine.nextSending() == nil)
    _ = machine.tick(now: 700_000_000)
    #expect(machine.nextSending() != nil)
  }

  /// A fence is up for milliseconds; what waits behind it is not put off as behind a full disk.
  @Test func behindAFenceItWaitsForMillisecondsAndKeepsItsOrder() {
    var machine = machine()
    enqueue(&machine, records: [1], number: 1)
    enqueue(&machine, records: [2], number: 2)
    var now: Int64 = 0
    for round in 0..<3 {
      var sent: [ProducerMachine.Sending] = []
      while let sending = machine.nextSending() { sent.append(sending) }
      #expect(sent.map { ModelBatch.decode($0.payload).records } == [[1], [2]])
      let fault = Fault(.swapInProgress, "", retryAfterMilliseconds: 5)
      for sending in sent {
        #expect(machine.nextSending() == nil)
        _ = machine.answered(sending.requestID, .refused(SkeinError(fault)), now: now)
      }
      let due = machine.nextWake ?? .max
      #expect(due >= now + 5_000_000 && due <= now + (5_000_000 << Int64(round)))
      machine.wake(now: due - 1)
      #expect(machine.nextSending() == nil && machine.nextWake == due)
      now = due
      machine.wake(now: now)
      #expect(machine.nextWake == nil)
    }
    #expect(machine.failure == nil)
  }

  @Test func aGapWithoutCauseFailsTheProducer() {
    var machine = machine()
    enqueue(&machine, records: [1])
    guard let sending = machine.nextSending() else { return }
    _ = machine.answered(sending.requestID, .refused(SkeinError(.outOfOrderSequence, "")), now: 0)
    #expect(machine.failure?.reason == "OUT_OF_ORDER_SEQUENCE")
  }

  @Test func aNewerInstanceFencesThisOne() {
    var machine = machine()
    enqueue(&machine, records: [1])
    guard let sending = machine.nextSending() else { return }
    _ = machine.answered(sending.requestID, .refused(SkeinError(.producerFenced, "")), now: 0)
    #expect(machine.failure != nil)
    enqueue(&machine, records: [2])
    #expect(machine.nextSending() == nil)
  }

  @Test func pastItsDeadlineAnUnsentBatchFailsAlone() {
    var machine = machine(window: nil)
    enqueue(&machine, records: [1], number: 1, deadline: Self.second)
    enqueue(&machine, records: [2], number: 2, deadline: 3 * Self.second)
    let completions = machine.tick(now: 2 * Self.second)
    #expect(completions.map(\.batch.number) == [1])
    guard case .failure(let error)? = completions.first?.result else { return }
    #expect(error.outcome == .definite)
    #expect(machine.failure == nil)
    machine.streamOpened(window: 2)
    #expect(machine.nextSending().map { ModelBatch.decode($0.payload) }?.sequence == 0)
  }

  @Test func pastItsDeadlineASentBatchFailsTheProducer() {
    var machine = machine()
    enqueue(&machine, records: [1], deadline: Self.second)
    _ = machine.nextSending()
    let completions = machine.tick(now: 2 * Self.second)
    guard case .failure(let error)? = completions.first?.result else { return }
    #expect(error.outcome == .unknown)
    #expect(machine.failure != nil)
  }

  @Test func anAnswerToNothingIsIgnored() {
    var machine = machine()
    let (lane, completions) = machine.answered(77, appended(), now: 0)
    #expect(lane == nil && completions.isEmpty && machine.failure == nil)
  }
}
