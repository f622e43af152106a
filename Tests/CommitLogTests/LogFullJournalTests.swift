import CommitLog
import Simulation
import SkeinCore
import Testing

/// A journal that is full for a while holds producers up, and nothing longer than that.
@Suite struct LogFullJournalTests {
  @Test func whatCameMeanwhileIsFlushedWithWhatWasLeftOver() throws {
    let harness = try LogHarness(disk: SimulatedDisk(seed: 5)) { $0.maxGroupBytes = 100_000 }
    let log = harness.log()
    // More than the ring of 1 MiB takes.
    let value = String(repeating: "x", count: 50_000)
    for _ in 0..<40 { try harness.append(log, value) }
    for advance in try harness.directory.flushStep() { advance.log.apply(advance) }
    #expect(harness.directory.isFlushBlocked)
    // It comes while the journal is full; its wake-up finds the flusher blocked.
    try harness.append(log, "late")
    for advance in try harness.directory.flushStep() { advance.log.apply(advance) }
    #expect(harness.directory.isFlushBlocked)
    // Each time there is room the flusher is woken once; nobody else wakes it.
    var rounds = 0
    while harness.directory.isFlushBlocked, rounds < 100 {
      rounds += 1
      try harness.writeBehind()
      for advance in try harness.directory.flushStep() { advance.log.apply(advance) }
    }
    #expect(log.durableEnd == log.logEnd)
    #expect(try harness.readAll(log).last == "late")
  }
}
