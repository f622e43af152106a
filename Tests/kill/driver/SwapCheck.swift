import SkeinClient

/// Reads the whole topic as a careful reader would: generation by generation, in each all partitions up to their
/// cuts, and compares with what was acknowledged.
struct SwapCheck {
  let options: SwapDriver
  let ledgers: [SwapLedger]
  /// Generations that were seen on the way: the broker remembers the last 16 only.
  let history: [UInt32: PartitionerGeneration]

  private struct Record {
    let offset: Int64
    let producer: Int
    let number: Int
  }

  func run(_ client: Client, _ report: inout SwapReport) async throws {
    let description = try await client.admin.describeTopic(options.topic)
    let entries = ledgers.map(\.entries)
    var logs: [[Record]] = []
    for partition in 0..<description.topic.partitionCount {
      logs.append(try await read(client, partition, entries, &report))
    }
    countRecords(logs, entries, &report)
    let all = history.merging(description.generations.map { ($0.generation, $0) }, uniquingKeysWith: { $1 })
    checkOrder(logs, entries, all.values.sorted { $0.generation < $1.generation }, &report)
  }

  private func read(
    _ client: Client, _ partition: Int32, _ entries: [[SwapLedger.Entry]], _ report: inout SwapReport
  ) async throws -> [Record] {
    var reading = ReaderConfiguration()
    reading.stopsAtEnd = true
    let reader = try await client.reader(
      topic: options.topic, partitions: [partition], from: .beginning, reading)
    var log: [Record] = []
    while let batch = try await reader.nextBatch() {
      for record in try batch.records() {
        let value = record.value ?? []
        func number(_ start: Int) -> Int {
          value.count < start + 8 ? -1 : value[start..<start + 8].reduce(0) { $0 << 8 | Int($1) }
        }
        let (producer, at) = (number(0), number(8))
        guard entries.indices.contains(producer), entries[producer].indices.contains(at),
          record.key == SwapLoad.key(producer, entries[producer][at].key)
        else {
          report.note(\.altered, "partition \(partition) offset \(record.offset): not what a producer sent")
          continue
        }
        log.append(Record(offset: record.offset, producer: producer, number: at))
      }
    }
    await reader.close()
    return log
  }

  private func countRecords(_ logs: [[Record]], _ entries: [[SwapLedger.Entry]], _ report: inout SwapReport) {
    var seen = entries.map { [Int32](repeating: 0, count: $0.count) }
    for (partition, log) in logs.enumerated() {
      for record in log {
        report.found += 1
        seen[record.producer][record.number] += 1
        if seen[record.producer][record.number] > 1 {
          report.note(
            \.duplicated,
            "producer \(record.producer) record \(record.number): again in partition \(partition) at \(record.offset)"
          )
        }
      }
    }
    for (producer, all) in entries.enumerated() {
      for (number, entry) in all.enumerated() {
        report.sent += 1
        if entry.latency >= 0 { report.acknowledged += 1 }
        if entry.latency >= 0, seen[producer][number] == 0 {
          report.note(\.lost, "producer \(producer) record \(number), key \(entry.key), acknowledged")
        }
        if entry.isRefused, seen[producer][number] > 0 {
          report.note(\.ghosts, "producer \(producer) record \(number): failed for certain, but is there")
        }
      }
    }
  }

  /// Without a fence there is no cut to stop at: the generations on both sides are read as one. Where a
  /// partitioner does not keep a key together, its records have no order among themselves, neither there nor
  /// where they were when the next generation took over what was not yet sent; but none of them may come before
  /// a record of a keyed generation that ended earlier.
  private func checkOrder(
    _ logs: [[Record]], _ entries: [[SwapLedger.Entry]], _ generations: [PartitionerGeneration],
    _ report: inout SwapReport
  ) {
    let unkeyed = Set(options.unkeyed.split(separator: ",").map(String.init))
    // From a gap on, only the newest unbroken stretch is checked; no cuts are known of what is older.
    let gap = generations.indices.last {
      $0 > 0 && generations[$0].generation != generations[$0 - 1].generation + 1
    }
    let known = Array(generations[(gap ?? 0)...])
    var last = entries.map { _ in [Int](repeating: -1, count: options.keys) }
    var at = [Int](repeating: 0, count: logs.count)
    var position = 0
    var wasKeptTogether = true
    if let first = known.first, first.generation > 1 {
      report.isPartial = true
      for (partition, cut) in first.cuts.enumerated() where logs.indices.contains(partition) {
        while at[partition] < logs[partition].count, logs[partition][at[partition]].offset < cut {
          at[partition] += 1
        }
      }
    }
    while position < known.count {
      // The generations up to the next fence.
      var names = [known[position].binding.partitioner]
      position += 1
      while position < known.count, !known[position].isFenced {
        names.append(known[position].binding.partitioner)
        position += 1
      }
      let cuts = position < known.count ? known[position].cuts : []
      let isKeptTogether = !names.contains { unkeyed.contains($0) }
      let isKeyed = isKeptTogether && wasKeptTogether
      wasKeptTogether = isKeptTogether
      var newest = last
      for partition in logs.indices {
        let end = cuts.indices.contains(partition) ? cuts[partition] : .max
        while at[partition] < logs[partition].count, logs[partition][at[partition]].offset < end {
          let record = logs[partition][at[partition]]
          at[partition] += 1
          let key = Int(entries[record.producer][record.number].key)
          let bar = isKeyed ? newest[record.producer][key] : last[record.producer][key]
          if record.number < bar {
            report.note(
              \.reordered,
              "producer \(record.producer) key \(key): record \(record.number) in partition \(partition) at \(record.offset), read after \(bar)"
            )
          }
          newest[record.producer][key] = max(newest[record.producer][key], record.number)
        }
      }
      if isKeyed { last = newest }
      report.segments += 1
    }
  }
}
