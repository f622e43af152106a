import Testing

@testable import SkeinClient

@Suite struct FIFOTests {
  @Test func keepsOrderThroughCompaction() {
    var queue = FIFO<Int>()
    var taken: [Int] = []
    for n in 0..<1000 {
      queue.append(n)
      if n % 3 != 0, let first = queue.popFirst() { taken.append(first) }
    }
    while let first = queue.popFirst() { taken.append(first) }
    #expect(taken == Array(0..<1000))
    #expect(queue.isEmpty)
  }

  @Test func partitionKeepsBothOrders() {
    var queue = FIFO<Int>()
    for n in 0..<10 { queue.append(n) }
    _ = queue.popFirst()
    let odd = queue.partition { $0 % 2 == 0 }
    #expect(odd == [1, 3, 5, 7, 9])
    #expect(queue.drain() == [2, 4, 6, 8])
  }
}
