import CommitLog
import Simulation
import SkeinCore
import Testing

/// Damage to the medium: torn last writes are cut, everything else is reported with its owner (R52).
@Suite("Journal damage")
struct JournalDamageTests {
  /// Power fails when exactly the first n bytes of the last group are on the medium, for every n.
  @Test func tornAtEveryByte() throws {
    let rig = JournalRig(seed: 7)
    try rig.open()
    try rig.write(rig.makeGroup(3, largestBody: 200))
    try rig.sync()
    let last = rig.makeGroup(4, largestBody: 300)
    let start = rig.journal!.written.offset
    let bytes = Int(try rig.write(last).offset - start)
    for kept in 0...bytes {
      let disk = rig.disk.clone(seed: UInt64(kept))
      disk.powerCut(keepingFirst: kept)
      let (items, recovery) = try open(disk, rig)
      #expect(recovery.corruptions.isEmpty, "\(kept) bytes kept")
      // Only padding may be missing from a group that counts.
      let whole = items.count == 7
      #expect(items == Array(rig.model.items.prefix(whole ? 7 : 3)), "\(kept) bytes kept")
      #expect(whole || kept < bytes)
      #expect(whole || kept < JournalTestFormat.headerSize || recovery.torn)
    }
  }

  /// One bit of every byte of a small ring: what is lost is named, nothing else is.
  @Test func bitFlipAtEveryByte() throws {
    let rig = JournalRig(seed: 11, fileSize: 4096, fileCount: 2)
    try rig.open()
    for count in [2, 3, 1, 4] {
      try rig.write(rig.makeGroup(count, largestBody: 150))
      try rig.sync()
    }
    // From here on the groups before are known to be durable.
    try rig.open()
    var named = 0
    for path in rig.disk.allFiles() {
      for byte in 0..<4096 {
        let disk = rig.disk.clone(seed: 1)
        #expect(disk.flipBit(path, byte: byte, bit: byte % 8))
        let (items, recovery) = try open(disk, rig)
        let verdict = Damage.judge(items, recovery.corruptions, rig.model.items, exact: true)
        if let verdict { Issue.record("\(path) byte \(byte): \(verdict)") }
        if items.count < rig.model.items.count { named += 1 }
      }
    }
    // The payloads and headers of ten entries lie there: the test has looked at them.
    #expect(named > 1000)
  }

  /// Blocks zeroed, replaced by noise or by what stood there a while ago, bits flipped, writes that went
  /// elsewhere: nothing is altered unseen.
  @Test func seededDamage() throws {
    var reported = 0
    for seed in 0..<UInt64(300) {
      do { reported += try Damage.run(seed: seed) ? 1 : 0 } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
    }
    #expect(reported > 80)
  }

  @Test func mutantThatCutsACorruptMiddleIsCaught() {
    for seed in 0..<UInt64(100) {
      do { _ = try Damage.run(seed: seed, breakage: .cutCorruptMiddle) } catch is Violation { return } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
    }
    Issue.record("not caught")
  }

  /// Both a header and its group's commit entry are gone: nobody knows whose entry it was.
  @Test func unknownOwnerIsSaidToBeUnknown() throws {
    let rig = JournalRig(seed: 3)
    try rig.open()
    let start = try rig.write(rig.makeGroup(2, largestBody: 40)).offset
    try rig.sync()
    let end = try rig.write(rig.makeGroup(2, largestBody: 40)).offset
    try rig.sync()
    try rig.write(rig.makeGroup(1, largestBody: 40))
    try rig.sync()
    rig.disk.overwrite(
      "journal/ring-000", at: 512 + Int(start), [UInt8](repeating: 0xAA, count: Int(end - start)))
    let (items, recovery) = try open(rig.disk, rig)
    #expect(items == [rig.model.items[0], rig.model.items[1], rig.model.items[4]])
    #expect(recovery.corruptions.map(\.loss) == [.unknown])
    // The report stays until the place is recycled.
    let again = try open(rig.disk, rig)
    #expect(again.0 == items)
    #expect(again.1.corruptions.map(\.loss) == [.unknown])
  }

  private func open(
    _ disk: SimulatedDisk, _ rig: JournalRig
  ) throws -> ([JournalModel.Item], JournalRecovery) {
    let (_, recovery) = try Journal.open(
      disk: disk, directory: "journal", configuration: rig.configuration, random: SeededRandom(seed: 1))
    return (try JournalRig.replay(recovery), recovery)
  }
}

enum JournalTestFormat {
  static let headerSize = 104
}

enum Damage {
  /// Runs a healthy schedule, damages the medium, and judges what comes back. Returns whether damage
  /// was reported.
  static func run(seed: UInt64, breakage: JournalConfiguration.Breakage = []) throws -> Bool {
    let rig = JournalRig(seed: seed, fileCount: 2, breakage: breakage)
    let random = rig.random
    try rig.open()
    var old: [String: [UInt8]] = [:]
    for step in 0..<(6 + random.below(12)) {
      if step == 4 { for path in rig.disk.allFiles() { old[path] = rig.disk.contents(path) } }
      if random.chance(5) {
        rig.disk.inject(DiskFault(.write, path: "ring", random.chance(50) ? .lose : .misdirect(by: 512)))
      }
      do { try rig.write(rig.makeGroup(1 + random.below(5), largestBody: 400)) } catch LogError.journalFull {
        if let first = rig.model.boundaries.dropLast().last { try rig.recycle(first) }
        continue
      }
      try rig.sync()
    }
    rig.disk.clearFaults()
    // A lost write with nothing behind it is the same as one that was never made.
    do { try rig.write(rig.makeGroup(1, largestBody: 10)) } catch LogError.journalFull { return false }
    try rig.sync()
    // An opening in between is a witness for all before it. Damage that is there already is judged later.
    try rig.open(isDamaged: true)
    let witness = rig.journal!.written.offset - 512
    for _ in 0..<(1 + random.below(3)) { strike(rig, old, sparing: witness) }

    let (_, recovery) = try Journal.open(
      disk: rig.disk, directory: "journal", configuration: rig.configuration, random: random)
    let items = try JournalRig.replay(recovery)
    let needed = Array(rig.model.items[rig.model.recycled...])
    if let verdict = judge(items, recovery.corruptions, needed, all: rig.model.items) {
      throw Violation(verdict)
    }
    return recovery.corruptions.contains { $0.loss != .nothing }
  }

  private static func strike(_ rig: JournalRig, _ old: [String: [UInt8]], sparing witness: Int64) {
    let random = rig.random
    let paths = rig.disk.allFiles()
    let path = paths[random.below(paths.count)]
    // The identities are one block each and told by their neighbours; two at once are not survived.
    let block = 512 * (1 + random.below(15))
    // Without the last witness, damage to the group before it is the same as a torn write.
    let place = witness % (2 * 7680)
    if path.hasSuffix("\(place / 7680)") && block == place % 7680 + 512 { return }
    switch random.below(4) {
    case 0: _ = rig.disk.flipBit(path, byte: block + random.below(512), bit: random.below(8))
    case 1: rig.disk.overwrite(path, at: block, [UInt8](repeating: 0, count: 512))
    case 2:
      rig.disk.overwrite(path, at: block, (0..<512).map { _ in UInt8(truncatingIfNeeded: random.next()) })
    default:
      if let bytes = old[path] { rig.disk.overwrite(path, at: block, Array(bytes[block..<block + 512])) }
    }
  }

  /// Nil when all is well: what came back was written, in order and unaltered; whatever is needed and
  /// missing is owned up to.
  /// - Parameter exact: a single fault, so that the owners named must be exactly those that lost.
  static func judge(
    _ items: [JournalModel.Item], _ corruptions: [JournalCorruption], _ needed: [JournalModel.Item],
    all: [JournalModel.Item]? = nil, exact: Bool = false
  ) -> String? {
    let all = all ?? needed
    var next = all.startIndex
    for item in items {
      guard let found = all[next...].firstIndex(of: item) else {
        return "an entry that was not written, or out of order"
      }
      next = found + 1
    }
    let missing = needed.filter { !items.contains($0) }
    var named: Set<TopicPartition> = []
    var isUnknown = false
    for corruption in corruptions {
      switch corruption.loss {
      case .partition(let key): named.insert(key)
      case .unknown: isUnknown = true
      case .nothing: break
      }
    }
    let unnamed = missing.filter { !named.contains($0.key) }
    if !unnamed.isEmpty && !isUnknown {
      return "\(unnamed.count) of \(missing.count) missing entries owned up to by nobody"
    }
    if exact {
      if isUnknown { return "one fault, and the owner is unknown" }
      if named != Set(missing.map(\.key)) { return "named \(named), lost \(missing.map(\.key))" }
    }
    return nil
  }
}
