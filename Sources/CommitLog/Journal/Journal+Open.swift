package import SkeinCore

extension Journal {
  /// Opens the ring in `directory`, or creates it; scans all of it, cuts a torn tail, reports damage,
  /// and makes durable what it found before it returns.
  ///
  /// - Parameters:
  ///   - directory: below the disk's root; created if absent, its parent must exist.
  ///   - random: names a new ring.
  /// - Throws: `.full` when there is no room for a new ring (nothing of value is there then),
  ///   `.offline` when a file cannot be read or written, `.corrupt` when the ring as a whole is not
  ///   usable, `.invalidFormat` for a later version. Damage to entries does not throw.
  package static func open(
    disk: any Disk, directory: String, configuration: JournalConfiguration, random: any RandomSource
  ) throws(LogError) -> (Journal, JournalRecovery) {
    let ring = try JournalRingFiles.open(disk, directory, configuration, random)
    var reader = JournalReader(ring.files, id: ring.id, verifyBatch: configuration.verifyBatch)
    let groups = ring.created ? [] : try reader.allGroups()
    let chain = JournalChain(groups, geometry: ring.files.geometry, breakage: configuration.breakage)

    var steps: [JournalRecovery.Step] = []
    var corruptions: [JournalCorruption] = []
    var holes = chain.holes.makeIterator()
    var hole = holes.next()
    for (index, group) in chain.groups.enumerated() {
      while let found = hole, found.before == index {
        let salvage = try JournalSalvage(found, chain.runs, &reader)
        steps += salvage.intact.map { .entry($0) }
        corruptions += salvage.corruptions
        hole = holes.next()
      }
      steps.append(.group(group))
    }
    let isBegun = try reader.isBegun(at: chain.end)
    let torn = chain.cut > 0 || isBegun

    let recovery = JournalRecovery(
      torn: torn, corruptions: corruptions, created: ring.created, end: chain.end, steps: steps,
      files: ring.files, id: ring.id, verifyBatch: configuration.verifyBatch)
    let journal = try resume(ring, chain, configuration)
    return (journal, recovery)
  }

  /// Makes the scanned entries durable (R53), then announces the new run.
  private static func resume(
    _ ring: JournalRingFiles, _ chain: JournalChain, _ configuration: JournalConfiguration
  ) throws(LogError) -> Journal {
    let files = ring.files
    if !configuration.breakage.contains(.trustPageCache) {
      var window = JournalWindow(files)
      for group in chain.groups where group.lastSequence > chain.witnessed {
        try rewrite(group, files, &window)
      }
      if !ring.created { try onDisk { () throws(DiskError) in try files.sync() } }
    }
    let (end, previous) = try startOfRun(chain, files.geometry)
    let journal = Journal(
      id: ring.id, files: files, run: chain.lastRun + 1, breakage: configuration.breakage, written: end,
      previous: previous, head: chain.head, durableHead: chain.namedHead)
    if !configuration.breakage.contains(.trustPageCache) { try journal.announce() }
    return journal
  }

  /// After a failed sync Linux marks pages clean that never reached the device; a later sync of the
  /// same file then succeeds without writing them. So what nobody knows to be durable is written again.
  private static func rewrite(
    _ group: JournalGroup, _ files: JournalFiles, _ window: inout JournalWindow
  ) throws(LogError) {
    var place = group.position
    while place < group.end {
      let length = Int(min(group.end - place, 1 << 20))
      guard let bytes = try window.view(place, length) else { return }
      try onDisk { () throws(DiskError) in try files.write([bytes], at: place) }
      place += Int64(length)
    }
  }

  /// Where the new run announces itself: at the end, or over the last announcement when restarts
  /// without progress have used up the reserve and the one before it says the same.
  private static func startOfRun(
    _ chain: JournalChain, _ geometry: JournalGeometry
  ) throws(LogError) -> (JournalPosition, UInt32) {
    let room = geometry.capacity - (chain.end.offset - chain.namedHead.offset)
    if room >= geometry.blockSize { return (chain.end, chain.previous) }
    guard let last = chain.groups.last, let before = chain.groups.dropLast().last, last.isAnnouncement,
      before.isAnnouncement, before.head == last.head
    else {
      // Entries stay out of the reserve, and an announcement of a new head frees what it takes.
      throw .corrupt(nil, what: "the journal holds more than it can")
    }
    return (JournalPosition(offset: last.position, sequence: last.firstSequence - 1), last.previous)
  }
}

extension JournalGroup {
  /// Nothing but a commit entry.
  fileprivate var isAnnouncement: Bool { firstSequence == lastSequence }
}
