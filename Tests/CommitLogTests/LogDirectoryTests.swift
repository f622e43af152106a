import CommitLog
import DiskIO
import RecordFormat
import SkeinCore
import Testing

/// Append, flush, read, restart on real files.
@Suite struct LogDirectoryTests {
  private func small(_ configuration: inout LogConfiguration) { configuration.tailBudgetBytes = 0 }

  private func smallSegments() -> PartitionSettings {
    var settings = PartitionSettings()
    settings.segmentBytes = 64 << 10
    return settings
  }

  @Test func appendedBatchesAreVisibleOnlyWhenDurable() throws {
    let folder = try TemporaryFolder()
    let harness = try LogHarness(disk: FileDisk(root: folder.path))
    let log = harness.log()
    #expect(try harness.append(log, "a", "b") == .zero)
    #expect(log.logEnd == Offset(2))
    #expect(log.highWatermark == .zero)
    #expect(try harness.readAll(log) == [])
    try harness.flush()
    #expect(log.highWatermark == Offset(2))
    #expect(try harness.readAll(log) == ["a", "b"])
  }

  @Test func aKilledDirectoryComesBackFromItsJournal() throws {
    let folder = try TemporaryFolder()
    let harness = try LogHarness(disk: FileDisk(root: folder.path))
    let log = harness.log()
    try harness.append(log, "a", "b")
    try harness.flush()
    let before = harness.directory.recovery.leaderEpoch
    try harness.restart()
    let again = harness.log()
    #expect(again.leaderEpoch > before)
    #expect(again.logEnd == Offset(2))
    #expect(try harness.readAll(again) == ["a", "b"])
    #expect(harness.directory.recovery.wasClean == false)
  }

  @Test func segmentsRollAndAreReadFromFiles() throws {
    let folder = try TemporaryFolder()
    let harness = try LogHarness(disk: FileDisk(root: folder.path), adjust: small)
    let log = harness.log(0, smallSegments())
    var expected: [String] = []
    for index in 0..<400 {
      let value = "\(index)-" + String(repeating: "x", count: 1000)
      expected.append(value)
      try harness.append(log, value)
      if index % 10 == 0 { try harness.flush() }
      if index % 50 == 49 { try harness.writeBehind() }
    }
    try harness.flush()
    try harness.writeBehind()
    #expect(try harness.readAll(log) == expected)
    #expect(try harness.readAll(log, from: Offset(123), maxBytes: 1) == Array(expected[123...]))
    _ = try harness.directory.close()
    #expect(harness.directory.unwrittenBytes == 0)
    try harness.restart()
    let again = harness.log(0, smallSegments())
    #expect(harness.directory.recovery.wasClean)
    #expect(try harness.readAll(again) == expected)
    #expect(try harness.readAll(again, from: Offset(399)) == [expected[399]])
  }
}
