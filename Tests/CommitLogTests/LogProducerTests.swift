import CommitLog
import SkeinCore
import Testing

/// The duplicate window and the sequences (P2-P9), on the table alone.
@Suite struct LogProducerTests {
  private func stamp(_ first: Int32, _ count: Int32 = 1, epoch: Int16 = 0, id: Int64 = 7) -> ProducerStamp {
    ProducerStamp(
      id: id, epoch: epoch, firstSequence: first, lastSequence: ProducerSequence.advance(first, by: count - 1)
    )
  }

  /// A table after `count` batches of one record from sequence `first` on, at offsets 100, 101 …
  private func table(_ count: Int, from first: Int32 = 0) -> ProducerTable {
    var table = ProducerTable()
    for index in 0..<count {
      table.record(
        stamp(ProducerSequence.advance(first, by: Int32(index))), base: 100 + Int64(index), appendTime: 0)
    }
    return table
  }

  @Test func aRetryInTheWindowGetsItsOffset() {
    let table = table(40)
    for index in 8..<40 { #expect(table.duplicate(of: stamp(Int32(index)))?.base == 100 + Int64(index)) }
    #expect(table.duplicate(of: stamp(7)) == nil)
    #expect(table.duplicate(of: stamp(39, 2)) == nil)
    #expect(table.duplicate(of: stamp(39, epoch: 1)) == nil)
    #expect(table.duplicate(of: stamp(39, id: 8)) == nil)
  }

  @Test func olderThanTheWindowIsASuccessWithoutOffset() {
    let table = table(40)
    #expect(table.check(stamp(7), now: 0, durableEnd: .max) == .olderThanWindow)
    // Partly in the window, with other borders: not the same batch, and not wholly appended either.
    #expect(table.check(stamp(7, 2), now: 0, durableEnd: .max) == .outOfOrder(expected: 40))
    // Nothing was dropped from this window, so there is nothing older.
    let short = self.table(3, from: 0)
    #expect(short.check(stamp(Int32.max), now: 0, durableEnd: .max) == .outOfOrder(expected: 3))
  }

  @Test func gapsAndOverlapsAreRefused() {
    let table = table(3)
    #expect(table.check(stamp(3), now: 0, durableEnd: .max) == .accept)
    #expect(table.check(stamp(4), now: 0, durableEnd: .max) == .outOfOrder(expected: 3))
    #expect(table.check(stamp(2, 2), now: 0, durableEnd: .max) == .outOfOrder(expected: 3))
  }

  @Test func epochsFenceAndBeginAtZero() {
    var table = ProducerTable()
    table.record(stamp(0, 5, epoch: 3), base: 0, appendTime: 0)
    #expect(table.check(stamp(5, epoch: 2), now: 0, durableEnd: .max) == .fenced(current: 3))
    #expect(table.check(stamp(5, epoch: 4), now: 0, durableEnd: .max) == .outOfOrder(expected: 0))
    #expect(table.check(stamp(0, epoch: 4), now: 0, durableEnd: .max) == .accept)
    table.record(stamp(0, epoch: 4), base: 5, appendTime: 0)
    #expect(table.duplicate(of: stamp(0, 5, epoch: 3)) == nil)
    #expect(table.check(stamp(1, epoch: 4), now: 0, durableEnd: .max) == .accept)
  }

  @Test func sequencesWrap() {
    let table = table(4, from: Int32.max - 1)  // 2^31-2, 2^31-1, 0, 1
    #expect(table.duplicate(of: stamp(0))?.base == 102)
    #expect(table.check(stamp(2), now: 0, durableEnd: .max) == .accept)
    #expect(table.check(stamp(Int32.max - 5, 2), now: 0, durableEnd: .max) == .outOfOrder(expected: 2))
    var spanning = ProducerTable()
    spanning.record(stamp(Int32.max - 1, 4), base: 0, appendTime: 0)
    #expect(spanning.entries[7]?.newest?.lastSequence == 1)
    #expect(spanning.entries[7]?.newest?.count == 4)
  }

  @Test func unknownProducersBeginAtZero() {
    #expect(ProducerTable().check(stamp(0), now: 0, durableEnd: .max) == .accept)
    #expect(ProducerTable().check(stamp(1), now: 0, durableEnd: .max) == .unknownProducer)
  }

  @Test func theWindowBoundsBatchesInFlight() {
    let table = table(ProducerTable.window)
    let next = stamp(Int32(ProducerTable.window))
    #expect(table.check(next, now: 0, durableEnd: 100) == .tooManyInFlight)
    #expect(table.check(next, now: 0, durableEnd: 101) == .accept)
    #expect(table.check(next, now: 0, durableEnd: .max) == .accept)
  }

  @Test func idleProducersAreForgotten() {
    var table = table(3)
    let day = ProducerTable.lifetimeMilliseconds
    #expect(table.check(stamp(3), now: day, durableEnd: .max) == .accept)
    #expect(table.check(stamp(3), now: day + 1, durableEnd: .max) == .unknownProducer)
    #expect(table.check(stamp(0), now: day + 1, durableEnd: .max) == .accept)
    #expect(table.expire(now: day) == 0)
    #expect(table.expire(now: day + 1) == 1)
    #expect(table.isEmpty)
  }

  @Test func epochCacheFindsWhereAnotherHistoryEnds() {
    var epochs = EpochCache()
    epochs.note(epoch: 1, start: 0)
    epochs.note(epoch: 4, start: 90)
    epochs.note(epoch: 4, start: 95)
    #expect(epochs.entries.count == 2)
    // Read up to 101 under epoch 3, whose records above 90 are gone.
    #expect(epochs.truncation(of: 101, lastEpoch: 3, logEnd: 200) == 90)
    #expect(epochs.truncation(of: 90, lastEpoch: 3, logEnd: 200) == nil)
    #expect(epochs.truncation(of: 150, lastEpoch: 4, logEnd: 200) == nil)
    // The newest epoch lost its unsynced end, and nothing was appended since.
    #expect(epochs.truncation(of: 210, lastEpoch: 4, logEnd: 200) == 200)
    epochs.trim(below: 100)
    #expect(epochs.entries.map(\.epoch) == [4])
    #expect(epochs.truncation(of: 100, lastEpoch: 1, logEnd: 200) == 90)
  }
}
