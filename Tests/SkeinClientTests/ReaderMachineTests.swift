import SkeinCore
import Testing

@testable import SkeinClient

@Suite struct ReaderMachineTests {
  private func machine(
    partitions: Int32 = 1, stop: Int64? = nil, window: ReaderMachine.Amount = .init(records: 100, bytes: 1000)
  ) -> ReaderMachine {
    ReaderMachine(
      slots: (0..<partitions).map {
        .init(topic: "t", partition: $0, next: 0, stop: stop, isDone: false)
      }, window: window)
  }

  private func arrival(
    _ next: Int64, records: Int64, bytes: Int64, partition: Int32 = 0
  ) -> ReaderMachine.Arrival {
    .init(
      topic: "t", partition: partition, nextOffset: next, leaderEpoch: 1,
      total: .init(records: records, bytes: bytes))
  }

  @Test func theFirstGrantIsSmallAndTheRestFollows() {
    var machine = machine()
    #expect(machine.streamOpened() == .init(records: 12, bytes: 125))
    #expect(machine.nextGrant() == .init(records: 100, bytes: 1000))
    #expect(machine.nextGrant() == nil)
  }

  @Test func grantsAsTheConsumerTakes() {
    var machine = machine()
    _ = machine.streamOpened()
    _ = machine.nextGrant()
    guard case .deliver(_, _, _, let charge) = machine.arrived(arrival(40, records: 40, bytes: 400)) else {
      Issue.record("not delivered")
      return
    }
    #expect(machine.nextGrant() == nil, "held bytes must not be granted again")
    machine.taken(charge)
    #expect(machine.nextGrant() == .init(records: 140, bytes: 1400))
  }

  @Test func aNewStreamGoesOnAfterWhatWasReceivedAndCountsWhatIsHeld() {
    var machine = machine()
    _ = machine.streamOpened()
    _ = machine.arrived(arrival(40, records: 40, bytes: 990))
    machine.streamLost()
    #expect(machine.nextGrant() == nil)
    #expect(machine.slots[0].next == 40)
    #expect(machine.streamOpened() == .init(records: 12, bytes: 10))
  }

  @Test func aRepeatIsSkippedAndTotalsNeverGoBack() {
    var machine = machine()
    _ = machine.streamOpened()
    _ = machine.arrived(arrival(40, records: 40, bytes: 400))
    guard case .skip = machine.arrived(arrival(40, records: 40, bytes: 400)) else {
      Issue.record("a repeat was delivered")
      return
    }
    guard case .broken = machine.arrived(arrival(50, records: 30, bytes: 500)) else {
      Issue.record("totals went back unnoticed")
      return
    }
  }

  @Test(arguments: [(Int64(10), Int64.max, Int64(10)), (10, 10, .max), (.max, 10, 10), (1 << 62, 10, 10)])
  func absurdTotalsAndOffsetsAreNotBelieved(_ numbers: (next: Int64, records: Int64, bytes: Int64)) {
    var machine = machine()
    _ = machine.streamOpened()
    let verdict = machine.arrived(arrival(numbers.next, records: numbers.records, bytes: numbers.bytes))
    guard case .broken = verdict else {
      Issue.record("believed \(numbers)")
      return
    }
    _ = machine.nextGrant()
  }

  @Test func stopsWhereItWasTold() {
    var machine = machine(stop: 30)
    _ = machine.streamOpened()
    guard case .deliver(_, let from, let until, _) = machine.arrived(arrival(40, records: 40, bytes: 400))
    else {
      Issue.record("not delivered")
      return
    }
    #expect(from == 0 && until == 30)
    #expect(machine.isDone)
  }

  /// Whatever happens, no more is granted than the window, and everything is delivered once, in order.
  @Test func randomSchedules() {
    for seed in 1...300 as ClosedRange<UInt64> {
      let random = SeededRandom(seed)
      let window = ReaderMachine.Amount(
        records: Int64(1 + random.below(50)), bytes: Int64(1 + random.below(3000)))
      var machine = machine(partitions: 3, window: window)
      var granted = machine.streamOpened()
      var sent = ReaderMachine.Amount()
      var waiting: [ReaderMachine.Amount] = []
      var positions: [Int64] = [0, 0, 0]
      var delivered: [Int64] = [0, 0, 0]
      for _ in 0..<500 {
        switch random.below(4) {
        case 0 where random.chance(10):
          machine.streamLost()
          granted = machine.streamOpened()
          sent = .init()
          positions = machine.slots.map(\.next)
        case 0, 1:
          // The broker: sends while both credits are above zero; one batch may go below.
          guard sent.records < granted.records, sent.bytes < granted.bytes else { continue }
          let partition = random.below(3)
          let count = Int64(1 + random.below(20))
          let bytes = Int64(1 + random.below(1000))
          positions[partition] += count
          sent = .init(records: sent.records + count, bytes: sent.bytes + bytes)
          guard
            case .deliver(let slot, let from, _, let charge) = machine.arrived(
              arrival(
                positions[partition], records: sent.records, bytes: sent.bytes, partition: Int32(partition)))
          else {
            Issue.record("seed \(seed): new batches were not delivered")
            return
          }
          #expect(from == delivered[slot], "seed \(seed): a gap or a repeat")
          delivered[slot] = positions[partition]
          waiting.append(charge)
        case 2:
          if !waiting.isEmpty { machine.taken(waiting.removeFirst()) }
        default:
          if let grant = machine.nextGrant() {
            #expect(grant.bytes >= granted.bytes && grant.records >= granted.records, "seed \(seed)")
            granted = grant
          }
        }
        let onTheWay = max(0, granted.bytes - machine.received.bytes)
        let over = max(0, machine.held.bytes - window.bytes)
        #expect(
          onTheWay + machine.held.bytes <= window.bytes + over, "seed \(seed): granted more than the window")
      }
      // Once everything is taken credit flows again: no deadlock.
      for charge in waiting { machine.taken(charge) }
      if let grant = machine.nextGrant() { granted = grant }
      #expect(
        granted.bytes > machine.received.bytes && granted.records > machine.received.records,
        "seed \(seed): stuck")
    }
  }
}
