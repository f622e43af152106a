import SkeinCore
import Testing

@testable import Transport

/// The deframer and the outbound queue against each other, cut at random places.
@Suite struct FramingTests {
  private func deframe(_ deframer: inout MessageDeframer, _ bytes: [UInt8], budget: MemoryBudget? = nil) -> (
    [[UInt8]], MessageDeframer.Refusal?
  ) {
    var messages: [[UInt8]] = []
    var refusal: MessageDeframer.Refusal?
    bytes.withUnsafeBytes { all in
      var input = all
      repeat {
        switch deframer.next(&input, budget: budget) {
        case .needMore: return
        case .message(let message): messages.append(message.array)
        case .refused(let why):
          refusal = why
          return
        }
      } while !input.isEmpty
    }
    return (messages, refusal)
  }

  @Test func everyShapeSurvivesEveryCut() {
    var random = SeededGenerator(seed: 0x5EED_0001)
    print("seed 0x5EED0001")
    for _ in 0..<300 {
      var queue = OutboundQueue()
      var expected: [[UInt8]] = []
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let head = bytes(Int.random(in: 0...40, using: &random), &random)
        let parts = (0..<Int.random(in: 0...4, using: &random)).map { _ in
          bytes(Int.random(in: 0...300, using: &random), &random)
        }
        queue.append(OutboundMessage(head: head, parts: parts.map { SharedBytes($0) }))
        expected.append(head + parts.flatMap { $0 })
      }
      #expect(queue.count == expected.reduce(0) { $0 + $1.count + 5 })
      var deframer = MessageDeframer(limit: 2000)
      var got: [[UInt8]] = []
      while !queue.isEmpty {
        var chunk: [UInt8] = []
        let want = min(Int.random(in: 1...200, using: &random), queue.count)
        queue.take(want) { chunk.append(contentsOf: $0) }
        #expect(chunk.count == want)
        got += deframe(&deframer, chunk).0
      }
      #expect(!queue.isInsideMessage)
      #expect(got == expected)
      #expect(!deframer.isInsideMessage)
    }
  }

  @Test func prefixIsJudgedBeforeAllocation() {
    let budget = MemoryBudget(limit: 1000)
    var deframer = MessageDeframer(limit: 4096)
    #expect(
      deframe(&deframer, [0, 0xff, 0xff, 0xff, 0xff], budget: budget).1
        == .tooLarge(length: 0xffff_ffff, limit: 4096))
    #expect(budget.reserved == 0)
    #expect(
      deframe(&deframer, [0, 0, 0, 0, 1, 9], budget: budget).0.isEmpty, "after a refusal all is swallowed")
    deframer = MessageDeframer(limit: 4096)
    #expect(deframe(&deframer, [1, 0, 0, 0, 1]).1 == .compressed)
    deframer = MessageDeframer(limit: 4096)
    #expect(deframe(&deframer, [7, 0, 0, 0, 1]).1 == .malformedPrefix)
    deframer = MessageDeframer(limit: 4096)
    #expect(deframe(&deframer, [0, 0, 0, 16, 0]).1 == nil, "exactly the limit is allowed")
  }

  @Test func budgetIsChargedOnThePrefixAndGivenBack() {
    let budget = MemoryBudget(limit: 1000)
    var deframer = MessageDeframer(limit: 4096)
    #expect(deframe(&deframer, [0, 0, 0, 2, 0], budget: budget).1 == nil)
    #expect(budget.reserved == 512 + MessageDeframer.overheadBytes)
    var second = MessageDeframer(limit: 4096)
    #expect(deframe(&second, [0, 0, 0, 2, 0], budget: budget).1 == .overBudget(length: 512))
    deframer.stop()
    #expect(budget.reserved == 0)
    // The refused one goes on from its prefix.
    #expect(deframe(&second, [UInt8](repeating: 1, count: 512), budget: budget).0.count == 1)
    #expect(budget.reserved == 0)
  }

  @Test func sentMessagesAreLetGo() {
    let budget = MemoryBudget(limit: 1000)
    var queue = OutboundQueue()
    for _ in 0..<2 {
      let storage = SharedBytes.Storage(capacity: 100, reservation: budget.reserve(100))
      queue.append(OutboundMessage(SharedBytes(storage, offset: 0, count: 100)))
    }
    queue.take(105) { _ in }
    #expect(budget.reserved == 100)
    queue.take(1) { _ in }
    #expect(queue.isInsideMessage)
    queue.removeAll()
    #expect(budget.reserved == 0 && !queue.isInsideMessage)
  }

  private func bytes(_ count: Int, _ random: inout SeededGenerator) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
  }
}

/// SplitMix64: a seeded sequence, the same on every machine.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
