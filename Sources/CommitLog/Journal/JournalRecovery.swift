import SkeinCore

/// What opening a journal found. Everything in it has been made durable before `open` returned (R53).
///
/// **Threading.** Any one thread. Replay it before the first `recycle(through:)` of the journal.
package struct JournalRecovery: Sendable {
  enum Step: Sendable, Hashable {
    case group(JournalGroup)
    case entry(Int64)
  }

  /// Writes that were never synced stood behind the end and were cut.
  package let torn: Bool
  /// Damage to durable entries. Where a partition is named or the loss is unknown, what `replay` hands
  /// out for it has a gap.
  package let corruptions: [JournalCorruption]
  /// No ring was there; it was created.
  package let created: Bool
  /// Where the recovered entries end.
  package let end: JournalPosition

  let steps: [Step]
  let files: JournalFiles
  let id: JournalID
  let verifyBatch: @Sendable (TopicPartition, UnsafeRawBufferPointer) -> Bool

  /// Hands out every recovered entry in the order of writing, each with one part and the position up to
  /// which the journal may be recycled when all before is in synced segments. One group at a time is
  /// in memory; the parts may be kept.
  package func replay(
    _ body: (JournalEntry, JournalPosition) throws(LogError) -> Void
  ) throws(LogError) {
    var reader = JournalReader(files, id: id, verifyBatch: verifyBatch)
    var last = JournalPosition.start
    for step in steps {
      switch step {
      case .entry(let place):
        // Inside a hole no boundary is known: only what lies before it may be recycled.
        guard case .intact(let header, let payload) = try reader.entry(at: place) else {
          throw unstable(place)
        }
        try body(Self.entry(header, payload), last)
      case .group(let group):
        let end = JournalPosition(offset: group.end, sequence: group.lastSequence)
        var place = group.position
        while true {
          guard case .intact(let header, let payload) = try reader.entry(at: place) else {
            throw unstable(place)
          }
          if header.isCommit { break }
          try body(Self.entry(header, payload), end)
          place += Int64(JournalFormat.headerSize + header.payloadCount)
        }
        last = end
      }
    }
  }

  private static func entry(_ header: JournalHeader, _ payload: UnsafeRawBufferPointer) -> JournalEntry {
    JournalEntry(
      // The reader refuses other kinds.
      kind: JournalEntry.Kind(rawValue: header.kind) ?? .batch, key: header.key,
      parts: payload.isEmpty ? [] : [SharedBytes(copying: payload)], endOffset: header.endOffset)
  }

  private func unstable(_ place: Int64) -> LogError {
    .corrupt(nil, what: "journal place \(place) read back differently the second time")
  }
}
