import SkeinCore
import Testing

@testable import Transport

/// The body in assembly: what it allocates, and when it refuses.
@Suite struct HTTPBodyTests {
  private func give(_ body: inout HTTPBody, _ count: Int, _ budget: MemoryBudget? = nil) -> MessageDeframer
    .Refusal?
  {
    let bytes = [UInt8](repeating: 7, count: count)
    return bytes.withUnsafeBytes { buffer in
      var input = buffer
      let refusal = body.take(&input, budget: budget)
      if refusal == nil { #expect(input.isEmpty) }
      return refusal
    }
  }

  @Test func assemblesAnyChunks() {
    for announced in [nil, 100_000] {
      var body = HTTPBody(limit: 1 << 20, announced: announced)
      for _ in 0..<100 { #expect(give(&body, 1_000) == nil) }
      #expect(body.finish() == SharedBytes([UInt8](repeating: 7, count: 100_000)))
      #expect(give(&body, 5) == nil && body.finish().isEmpty, "what follows is swallowed")
    }
  }

  /// Not a byte beyond the limit is kept, however the length was announced.
  @Test func refusesBeyondTheLimit() {
    let budget = MemoryBudget(limit: 1 << 20)
    for announced in [nil, 10] {
      var body = HTTPBody(limit: 1_000, announced: announced)
      #expect(give(&body, 1_000, budget) == nil)
      #expect(give(&body, 1, budget) == .tooLarge(length: 1_001, limit: 1_000))
      #expect(budget.reserved == 0 && body.isStopped)
      #expect(give(&body, 1 << 20, budget) == nil && budget.reserved == 0)
    }
  }

  /// An announced length is reserved once; it is never believed beyond the limit.
  @Test func reservesWhatIsAnnounced() {
    let budget = MemoryBudget(limit: 1 << 20)
    var body = HTTPBody(limit: 1 << 19, announced: .max)
    #expect(give(&body, 1, budget) == nil)
    #expect(budget.reserved == (1 << 19) + MessageDeframer.overheadBytes)
    var small = HTTPBody(limit: 1 << 19, announced: nil)
    #expect(give(&small, 1, budget) == nil)
    #expect(budget.reserved == (1 << 19) + HTTPBody.firstBytes + 2 * MessageDeframer.overheadBytes)
    body.stop()
    small.stop()
    #expect(budget.reserved == 0)
  }

  @Test func waitsForTheBudget() {
    let budget = MemoryBudget(limit: 50_000)
    let other = budget.reserve(40_000)
    var body = HTTPBody(limit: 1 << 20, announced: 20_000)
    #expect(give(&body, 10, budget) == .overBudget(length: 20_000))
    #expect(!body.isStopped && body.count == 0)
    withExtendedLifetime(other) {}
    let rest = MemoryBudget(limit: 50_000)
    #expect(give(&body, 10, rest) == nil && body.count == 10)
  }
}
