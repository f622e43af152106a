import GroupCoordination
import OffsetStorage
import SkeinCore
import Wire

/// Setting and removing positions, of groups without members.
extension GroupOffsets {
  /// Sets positions of a group without members; with `dryRun` it only says what it would set.
  func reset(
    _ key: GroupKey, _ offsets: [OffsetCommit], dryRun: Bool
  ) async throws(Fault) -> [(partition: TopicPartition, before: Offset?, after: Offset)] {
    let request = GroupRequest.resetOffsets(key, offsets, dryRun: dryRun)
    if dryRun {
      guard case .store(let name) = choices.route(of: key) else { return try await resetInLog(key, request) }
      try await checkNoMembers(key)
      return try await changes(key, offsets, in: try stores.store(name))
    }
    // Commits of members that have just left are still on their way.
    return try await choices.alone(key, "being reset") { () throws(Fault) in
      if let refusal = choices.moving(key) { throw refusal }
      let name = try await decide(key, choices.route(of: key))
      guard name != Self.log else { return try await resetInLog(key, request) }
      // It judges the values, and makes the group if there is none.
      let check = GroupCoordination.CommitRequest(group: key, member: nil, offsets: offsets)
      let judged = try Self.committed(await ask(.checkCommit(check), key)).get()
      if let fault = judged.compactMap({ $0 }).first { throw fault }
      let store = try stores.store(name)
      let changes = try await changes(key, offsets, in: store)
      try await store.commit(
        key, memberEpoch: 0,
        offsets.map {
          StoredOffset(
            partition: $0.partition,
            committed: CommittedOffset(
              offset: $0.offset, leaderEpoch: $0.leaderEpoch, metadata: $0.metadata,
              committedAt: time.wallMilliseconds), memberEpoch: 0)
        })
      lanes.forget(key)
      return changes
    }
  }

  private func resetInLog(
    _ key: GroupKey, _ request: GroupRequest
  ) async throws(Fault) -> [(partition: TopicPartition, before: Offset?, after: Offset)] {
    guard case .reset(let changes) = try await groups.ask(request, of: key) else { throw Self.unexpected }
    return changes
  }

  private func changes(
    _ key: GroupKey, _ offsets: [OffsetCommit], in store: WatchedStore
  ) async throws(Fault) -> [(partition: TopicPartition, before: Offset?, after: Offset)] {
    let known = try await store.fetch(key, offsets.map(\.partition))
    let before = Dictionary(
      known.map { ($0.partition, $0.committed.offset) }, uniquingKeysWith: { _, last in last })
    return offsets.map { ($0.partition, before[$0.partition], $0.offset) }
  }

  /// - Throws: `GROUP_HAS_MEMBERS`.
  func checkNoMembers(_ key: GroupKey) async throws(Fault) {
    _ = try await groups.ask(.resetOffsets(key, [], dryRun: true), of: key)
  }

  // MARK: Delete

  /// Removes the offsets of one topic, or, without one, the group itself with all of its offsets.
  /// - Returns: how many offsets there were.
  func delete(_ key: GroupKey, topic: TopicID?) async throws(Fault) -> Int {
    try await choices.alone(key, "being deleted") { () throws(Fault) in
      if let refusal = choices.moving(key) { throw refusal }
      let name: String
      switch choices.route(of: key) {
      case .store(let store): name = store
      case .log, .undecided: name = Self.log
      }
      let count: Int
      if name == Self.log {
        count = try await deleteInLog(key, topic)
      } else {
        count = try await delete(key, topic, in: try stores.store(name))
      }
      if topic == nil, let choice = choices.choice(of: key) {
        try await choices.change(key, from: choice, to: nil, by: "")
      }
      lanes.forget(key)
      return count
    }
  }

  private func delete(
    _ key: GroupKey, _ topic: TopicID?, in store: WatchedStore
  ) async throws(Fault) -> Int {
    try await checkNoMembers(key)
    let known = try await store.fetch(key, nil)
    if let topic {
      let partitions = known.map(\.partition).filter { $0.topic == topic }
      try await store.remove(key, partitions)
      return partitions.count
    }
    // The coordinator first: it looks for members in the same step. A crash after it leaves the record, under which the
    // group is still listed, and deleted again.
    do throws(Fault) {
      _ = try await groups.ask(.deleteGroup(key), of: key)
    } catch {
      guard error.reason == .groupNotFound else { throw error }
    }
    try await store.remove(key, nil)
    return known.count
  }

  private func deleteInLog(_ key: GroupKey, _ topic: TopicID?) async throws(Fault) -> Int {
    guard let topic else {
      guard case .deleted(let count) = try await groups.ask(.deleteGroup(key), of: key) else {
        throw Self.unexpected
      }
      return count
    }
    let request = GroupCoordination.FetchOffsetsRequest(group: key)
    let found = try Self.offsets(await ask(.fetchOffsets(request), key)).get()
    return try await removeInLog(key, found.keys.filter { $0.topic == topic }.sorted())
  }

  func removeInLog(_ key: GroupKey, _ partitions: [TopicPartition]) async throws(Fault) -> Int {
    var count = 0
    for start in stride(from: 0, to: max(partitions.count, 1), by: GroupLimits.offsetsPerRequest) {
      let part = Array(partitions.dropFirst(start).prefix(GroupLimits.offsetsPerRequest))
      guard case .deleted(let removed) = try await groups.ask(.deleteOffsets(key, part), of: key) else {
        throw Self.unexpected
      }
      count += removed
    }
    return count
  }

  // MARK: Choose

  /// Chooses where new groups of the tenant begin.
  /// - Returns: what it was.
  func choose(_ name: String, tenant: String, by principal: String) async throws(Fault) -> String {
    try stores.check(name)
    if name != Self.log { await stores.start([name]) }
    return try await choices.setStandard(of: tenant, name, by: principal)
  }

  /// Chooses the store of a group that has no offsets yet.
  /// - Throws: `CONFLICT` if it has.
  func choose(_ name: String, group key: GroupKey, by principal: String) async throws(Fault) -> String {
    try stores.check(name)
    if name != Self.log { await stores.start([name]) }
    return try await choices.alone(key, "being given another store") { () throws(Fault) in
      if let refusal = choices.moving(key) { throw refusal }
      let count: Int
      if case .store(let store) = choices.route(of: key) {
        count = try await stores.store(store).fetch(key, nil).count
      } else {
        count = try await inLog(key).count
      }
      let before = storeName(of: key, inLog: count)
      guard before != name || choices.choice(of: key) == nil else { return before }
      guard count == 0 || before == name else {
        throw Fault(
          .conflict,
          "the group \(key.name) has \(count) offset(s) in \(before); move them: `skein group move-offsets \(key.name) --to \(name)`",
          metadata: ["group": key.name, "offsets": "\(count)", "store": before])
      }
      try await choices.change(
        key, from: choices.choice(of: key), to: OffsetStoreRecord(store: name), by: principal)
      return before
    }
  }
}
