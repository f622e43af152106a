import Simulation
import SkeinCore
import Testing

@testable import CommitLog

/// Golden bytes of the small files (Docs/formats/segment.md, checkpoint.md): they are on disks and
/// must not change unnoticed.
@Suite struct LogFormatTests {
  private let key = TopicPartition(
    topic: TopicID(high: 0x0102_0304_0506_0708, low: 0x1112_1314_1516_1718), partition: 3)

  private var checkpoint: Checkpoint {
    var row = Checkpoint.Row(key: key)
    row.logStart = 5
    row.end = 9
    row.lastAppendTime = 1_700_000_000_000
    row.cleanedEnd = 7
    row.corruption = "why"
    row.epochs = [EpochCache.Entry(epoch: 1, start: 0), EpochCache.Entry(epoch: 2, start: 7)]
    var sealed = Segment(base: 0)
    sealed.end = 7
    sealed.size = 700
    sealed.firstAppendTime = 1
    sealed.lastAppendTime = 2
    sealed.maxTimestamp = 3
    sealed.generation = 6
    sealed.tombstonesUntil = 9
    sealed.isSealed = true
    sealed.index = nil
    var active = Segment(base: 7)
    active.end = 9
    active.size = 200
    active.index = SegmentIndex(coversFrom: 200)
    row.segments = [sealed, active]
    row.producers = [
      (
        77,
        ProducerTable.Entry(
          epoch: 4, lastUsed: 8, droppedOlder: true,
          batches: [ProducerTable.Batch(firstSequence: 1, lastSequence: 2, base: 6)], oldest: 0)
      )
    ]
    var checkpoint = Checkpoint()
    checkpoint.generation = 12
    checkpoint.leaderEpoch = 2
    checkpoint.rows = [row]
    return checkpoint
  }

  @Test func checkpoints() throws {
    let bytes = checkpoint.encoded()
    #expect(Hex.string(bytes) == Self.goldenCheckpoint)
    #expect(Checkpoint(decoding: bytes) == checkpoint)
    for length in 0..<bytes.count { #expect(Checkpoint(decoding: Array(bytes[..<length])) == nil) }
  }

  /// What the version before wrote is read: nothing was compacted then.
  @Test func checkpointsOfTheVersionBefore() {
    var old = checkpoint
    old.rows[0].cleanedEnd = 0
    old.rows[0].segments[0].generation = 0
    old.rows[0].segments[0].tombstonesUntil = .min
    #expect(Checkpoint(decoding: Self.bytes(Self.goldenOldCheckpoint)) == old)
  }

  @Test func indexes() throws {
    var index = SegmentIndex()
    index.note(relativeOffset: 0, position: 0, maxTimestampBefore: .min)
    index.note(relativeOffset: 1, position: 100, maxTimestampBefore: 5)
    index.note(relativeOffset: 9, position: 20_000, maxTimestampBefore: 6)
    #expect(index.entries.count == 2)
    let bytes = index.encoded(key: key, base: 50, end: 70, size: 30_000)
    #expect(Hex.string(bytes) == Self.goldenIndex)
    let read = SegmentIndex(decoding: bytes, key: key, base: 50, end: 70, size: 30_000)
    #expect(read == index)
    #expect(read?.position(of: 8) == 0)
    #expect(read?.position(of: 9) == 20_000)
    #expect(read?.relativeOffset(ofTimestamp: 6) == 0)
    #expect(read?.relativeOffset(ofTimestamp: 7) == 9)
    // Of another segment, another length, another partition.
    #expect(SegmentIndex(decoding: bytes, key: key, base: 51, end: 70, size: 30_000) == nil)
    #expect(SegmentIndex(decoding: bytes, key: key, base: 50, end: 70, size: 30_001) == nil)
    for length in 0..<bytes.count {
      #expect(
        SegmentIndex(decoding: Array(bytes[..<length]), key: key, base: 50, end: 70, size: 30_000) == nil)
    }
  }

  @Test func identityAndCleanMarker() throws {
    let identity = DirectoryIdentity(clusterID: "c1", id: key.topic)
    #expect(Hex.string(identity.encoded()) == Self.goldenIdentity)
    #expect(try DirectoryIdentity(decoding: identity.encoded()) == identity)
    var damaged = identity.encoded()
    damaged[10] ^= 1
    #expect(throws: LogError.self) { try DirectoryIdentity(decoding: damaged) }
    let disk = SimulatedDisk(seed: 1)
    try CleanMarker.write(epoch: 6, disk: disk)
    #expect(disk.contents("clean").map { Hex.string($0) } == Self.goldenClean)
    #expect(try CleanMarker.take(disk: disk) == 6)
    #expect(try CleanMarker.take(disk: disk) == nil)
  }

  @Test func names() {
    #expect(
      LogPaths.segment(key, base: 42) == "topics/01020304050607081112131415161718/3/00000000000000000042.log")
    let rewritten = Segment(base: 42, generation: 7)
    #expect(LogPaths.segment(key, rewritten).hasSuffix("/3/00000000000000000042.0000000007.log"))
    #expect(LogPaths.index(key, rewritten).hasSuffix("/3/00000000000000000042.0000000007.index"))
    let parsed = LogPaths.segment(ofName: "00000000000000000042.0000000007.log", suffix: ".log")
    #expect(parsed?.base == 42 && parsed?.generation == 7)
    for wrong in [
      "00000000000000000042.0000000000.log", "00000000000000000042.7.log",
      "00000000000000000042.4294967296.log",
      "00000000000000000042.0000000007.0000000007.log", "00000000000000000042..log",
    ] {
      #expect(LogPaths.segment(ofName: wrong, suffix: ".log") == nil)
    }
    #expect(LogPaths.base(ofName: "00000000000000000042.log", suffix: ".log") == 42)
    for wrong in [
      "42.log", "00000000000000000042.index", "0000000000000000004x.log", "99999999999999999999.log",
    ] {
      #expect(LogPaths.base(ofName: wrong, suffix: ".log") == nil)
    }
    #expect(LogPaths.checkpointGeneration("checkpoint-00000000000000000007") == 7)
    #expect(LogPaths.checkpointGeneration("checkpoint-00000000000000000007.tmp") == nil)
  }

  private static func bytes(_ hex: String) -> [UInt8] {
    let digits = Array(hex.utf8)
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(Hex.parse(digits[$0..<$0 + 2]) ?? 0) }
  }

  private static let goldenOldCheckpoint =
    "50434b53010000000c000000000000000200000001000000080706050403020118171615141312110300000001050000"
    + "000000000009000000000000000068e5cf8b010000020002000000010000000300000077687901000000000000000000"
    + "000002000000070000000000000000000000000000000700000000000000bc0200000000000001000000000000000200"
    + "00000000000003000000000000000107000000000000000900000000000000c800000000000000000000000000000000"
    + "000000000000000000000000000080004d00000000000000040008000000000000000101010000000200000006000000"
    + "000000005ecf0a6a"
  private static let goldenCheckpoint =
    "50434b53020000000c000000000000000200000001000000080706050403020118171615141312110300000001050000"
    + "000000000009000000000000000068e5cf8b010000070000000000000002000200000001000000030000007768790100"
    + "0000000000000000000002000000070000000000000000000000000000000700000000000000bc020000000000000100"
    + "000000000000020000000000000003000000000000000106000000090000000000000007000000000000000900000000"
    + "000000c80000000000000000000000000000000000000000000000000000000000008000000000000000000000000080"
    + "4d0000000000000004000800000000000000010101000000020000000600000000000000e347cbec"
  private static let goldenIndex =
    "58494b530100000032000000000000004600000000000000307500000000000002000000030000000000000000000000"
    + "000000000000008009000000204e00000600000000000000a1b70b23"
  private static let goldenIdentity =
    "44494b530100000008070605040302011817161514131211020000006331b4750a0b"
  private static let goldenClean =
    "4c434b5306000000f8ac0759"
}
