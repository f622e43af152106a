import SkeinCore

/// From "where to begin" to an offset per partition.
enum ReadPlan {
  static func slots(
    _ admin: Admin, topic: String, partitions: [Int32]?, from start: ReadStart, stopsAtEnd: Bool
  ) async throws(SkeinError) -> [ReaderMachine.Slot] {
    let chosen = partitions ?? []
    let ends = try await offsets(admin, topic, chosen, .end)
    let begins: [Int32: Int64]
    switch start {
    case .end: begins = ends
    case .beginning: begins = try await offsets(admin, topic, chosen, .beginning)
    case .timestamp(let time): begins = try await offsets(admin, topic, chosen, .timestamp(time))
    case .offset(let offset): begins = ends.mapValues { _ in offset }
    case .offsets(let given):
      let missing = ends.keys.filter { given[$0] == nil }.sorted()
      guard missing.isEmpty else {
        throw SkeinError(.invalidRequest, "no start offset is given for partitions \(missing)")
      }
      begins = given
    }
    guard ends.count <= Reader.maxPartitions else {
      throw SkeinError(
        .invalidRequest,
        "\(topic): one reader takes at most \(Reader.maxPartitions) partitions, these are \(ends.count); name the partitions and use several readers"
      )
    }
    return ends.keys.sorted().map { partition in
      let (begin, end) = (begins[partition] ?? 0, ends[partition] ?? 0)
      return ReaderMachine.Slot(
        topic: topic, partition: partition, next: begin, stop: stopsAtEnd ? end : nil,
        isDone: stopsAtEnd && begin == end)
    }
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
