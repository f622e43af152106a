import SkeinCore

/// Commits, and steering while it runs.
extension Consumer {
  // MARK: Commits

  /// Commits everything that is processed, and waits for the broker's answer.
  ///
  /// Commits of many callers share messages. What the broker refuses for now is tried again, up to
  /// `ClientConfiguration.requestTimeout`.
  /// - Throws: NOT_ASSIGNED, STALE_MEMBER_EPOCH: the partition is not this member's any more, and its records come to
  ///   somebody else; COMMIT_BEHIND; or OFFSET_STORE_UNAVAILABLE and the like (outcome unknown) after that time.
  public func commit() async throws(SkeinError) { try await core.commit(.processed) }

  /// Commits everything of the record's partition up to it, this one included, also if it is not counted as processed
  /// yet; waits for the answer. Nothing happens if more is committed already.
  /// - Throws: as `commit()`.
  public func commit(_ record: ConsumedRecord) async throws(SkeinError) {
    try await core.commit(.record(record.source, offset: record.offset))
  }

  /// Commits these positions (the next record to process in each partition), all or, when one is refused beforehand,
  /// none; waits for the answer.
  /// - Parameter metadata: kept with them, for people; up to the broker's limit.
  /// - Throws: as `commit()`.
  public func commit(
    _ positions: [ConsumedPartition: ReadPosition], metadata: String = ""
  ) async throws(SkeinError) {
    try await core.commit(.offsets(positions, metadata: metadata))
  }

  /// As `commit()`, without waiting; what is refused goes to `ConsumerConfiguration.commitFailed`.
  public func commitSoon() {
    core.apply { machine, now in
      do throws(SkeinError) {
        try machine.commit(.processed, waiter: nil, now: now)
      } catch {
        // `.processed` names only partitions that are there.
      }
    }
  }

  /// As `commit(_:)` of a record, without waiting.
  /// - Throws: NOT_ASSIGNED.
  public func commitSoon(_ record: ConsumedRecord) throws(SkeinError) {
    try core.update { (machine, now) throws(SkeinError) in
      try machine.commit(.record(record.source, offset: record.offset), waiter: nil, now: now)
    }
  }

  // MARK: Acknowledging (`ConsumerConfiguration.acknowledges`)

  /// The record is processed. Whoever holds it may say so, in any order, also more than once; nothing is waited for.
  /// - Returns: false: its partition is not this member's any more, and the record may come again elsewhere.
  @discardableResult
  public func acknowledge(_ record: ConsumedRecord) -> Bool {
    core.change { $0.acknowledge(record.source, record.offset, now: $1) }
  }

  /// As `acknowledge(_:)` of a record, of a whole batch of `batches`.
  @discardableResult
  public func acknowledge(_ batch: RecordBatch) -> Bool {
    core.change { $0.acknowledge(batch.source, batch.nextOffset - 1, now: $1) }
  }

  // MARK: Partitions

  /// What the member has now, also what it is giving back.
  public var assignment: [ConsumedPartition] { core.look { $0.owned } }

  /// Where it goes on in each partition: after what was taken. Without those of which nothing has come.
  public var positions: [ConsumedPartition: ReadPosition] {
    core.look { machine in
      machine.index.compactMapValues { machine.slots[$0]?.position }
    }
  }

  /// What an automatic commit would store: below it everything is processed.
  public var processed: [ConsumedPartition: ReadPosition] {
    core.look { machine in
      machine.index.compactMapValues { machine.slots[$0]?.processed }
    }
  }

  /// The group's lag in the member's partitions, as of the broker's last heartbeats.
  public var lag: [ConsumedPartition: ConsumerLag] { core.look { $0.lag } }

  /// The member's id in the group, of now: a member that was removed joins again under another.
  public var memberID: String { core.look { $0.memberID } }

  /// Nothing more comes of these partitions until `resume`; they stay the member's, and others go on. What a loop has
  /// in hand of them is still processed.
  /// - Parameter partitions: nil is all that it has now.
  /// - Throws: NOT_ASSIGNED for one that it does not have; nothing was changed.
  public func pause(_ partitions: [ConsumedPartition]? = nil) throws(SkeinError) {
    try core.update { (machine, _) throws(SkeinError) in try machine.pause(partitions) }
  }

  /// Goes on after what was taken.
  /// - Throws: as `pause`.
  public func resume(_ partitions: [ConsumedPartition]? = nil) throws(SkeinError) {
    try core.update { (machine, _) throws(SkeinError) in try machine.resume(partitions) }
  }

  /// Goes on elsewhere. What was received of these partitions is dropped, and what is in a loop's or a handler's
  /// hand does not count as processed. Nothing is committed by it; a commit never goes back (COMMIT_BEHIND).
  /// - Throws: as `pause`; INVALID_REQUEST for a negative offset. One outside the log is told by the sequence
  ///   (OFFSET_OUT_OF_RANGE).
  public func seek(_ positions: [ConsumedPartition: ReadPosition]) throws(SkeinError) {
    try core.update { (machine, _) throws(SkeinError) in try machine.seek(positions) }
  }

  /// Goes on elsewhere; the broker is asked where that is.
  /// - Parameter partitions: nil is all that it has now.
  /// - Throws: as `seek`; INVALID_REQUEST when an offset is missing; or why the broker could not be asked.
  public func seek(
    to start: ReadStart, partitions: [ConsumedPartition]? = nil
  ) async throws(SkeinError) {
    let chosen = Dictionary(grouping: partitions ?? assignment, by: \.topic)
    var positions: [ConsumedPartition: ReadPosition] = [:]
    for (topic, partitions) in chosen {
      let found = try await ReadPlan.positions(
        admin, topic: topic, partitions: partitions.map(\.partition), from: start)
      for (partition, position) in found { positions[ConsumedPartition(topic, partition)] = position }
    }
    try seek(positions)
  }

  /// The application needs more time for what it is at: the processing deadline begins anew.
  public func extend() { core.apply { $0.extend(now: $1) } }

  /// Other topics from now on; partitions of those that it leaves are given back.
  public func subscribe(topics: [String], patterns: [String] = []) throws(SkeinError) {
    guard !topics.isEmpty || !patterns.isEmpty else {
      throw SkeinError(.invalidRequest, "a subscription names at least one topic or pattern")
    }
    core.apply { $0.subscribe(topics: topics, patterns: patterns, now: $1) }
  }
}
