import SkeinCore

/// From "where to begin" to a position per partition.
enum ReadPlan {
  static func slots(
    _ admin: Admin, topic: String, partitions: [Int32]?, from start: ReadStart, stopsAtEnd: Bool
  ) async throws(SkeinError) -> [ReaderMachine.Slot] {
    let ends = try await offsets(admin, topic, partitions ?? [], .end)
    guard ends.count <= Reader.maxPartitions else {
      throw SkeinError(
        .invalidRequest,
        "\(topic): one reader takes at most \(Reader.maxPartitions) partitions, these are \(ends.count); name the partitions and use several readers"
      )
    }
    let chosen = ends.keys.sorted()
    let begins =
      start == .end
      ? ends.mapValues { ReadPosition(offset: $0) }
      : try await positions(admin, topic: topic, partitions: chosen, from: start)
    return chosen.map { partition in
      let begin = begins[partition] ?? ReadPosition(offset: 0)
      let end = ends[partition] ?? 0
      return ReaderMachine.Slot(
        topic: topic, partition: partition, next: begin.offset, epoch: begin.leaderEpoch,
        stop: stopsAtEnd ? end : nil, isDone: stopsAtEnd && begin.offset == end)
    }
  }

  /// - Throws: INVALID_REQUEST when `start` names positions and one is missing.
  static func positions(
    _ admin: Admin, topic: String, partitions: [Int32], from start: ReadStart
  ) async throws(SkeinError) -> [Int32: ReadPosition] {
    let found: [Int32: ReadPosition]
    switch start {
    case .beginning: found = try await asked(admin, topic, partitions, .beginning)
    case .end: found = try await asked(admin, topic, partitions, .end)
    case .timestamp(let time): found = try await asked(admin, topic, partitions, .timestamp(time))
    case .offset(let offset):
      found = Dictionary(uniqueKeysWithValues: Set(partitions).map { ($0, ReadPosition(offset: offset)) })
    case .offsets(let given): found = given.mapValues { ReadPosition(offset: $0) }
    case .positions(let given): found = given
    }
    let missing = partitions.filter { found[$0] == nil }
    guard missing.isEmpty else {
      throw SkeinError(.invalidRequest, "no start offset is given for partitions \(missing)")
    }
    return found.filter { partitions.contains($0.key) }
  }

  private static func asked(
    _ admin: Admin, _ topic: String, _ partitions: [Int32], _ query: OffsetQuery
  ) async throws(SkeinError) -> [Int32: ReadPosition] {
    try await offsets(admin, topic, partitions, query).mapValues { ReadPosition(offset: $0) }
  }

  private static func offsets(
    _ admin: Admin, _ topic: String, _ partitions: [Int32], _ query: OffsetQuery
  ) async throws(SkeinError) -> [Int32: Int64] {
    var found: [Int32: Int64] = [:]
    for place in try await admin.listOffsets(topic, partitions: partitions, at: query) {
      if let error = place.error { throw error }
      found[place.partition] = place.offset
    }
    return found
  }
}
