import SkeinClient

/// Reads the whole topic through a client of its own and compares it with the ledger.
struct Check {
  let configuration: ClientConfiguration
  let ledger: Ledger
  let options: KillDriver

  func run() async throws -> Report {
    var report = Report()
    let client = try Client(configuration)
    var reading = ReaderConfiguration()
    reading.stopsAtEnd = true
    var state = ReadBack(producers: options.producers, partitions: Int(options.partitions), ledger: ledger)
    do {
      let reader = try await client.reader(topic: Trial.topic, from: .beginning, reading)
      while let batch = try await reader.nextBatch() {
        for record in try batch.records() { state.take(record, &report) }
      }
      await reader.close()
    } catch let error as SkeinError where error.reason != "UNREACHABLE" {
      // The topic is gone, or its log cannot be read: the records count as lost below.
      report.note(\.unreadable, "\(error)")
    }
    await client.close()
    state.finish(&report)
    for reason in ledger.gaveUp { report.note(\.gaveUp, reason) }
    // In health the follower never fails: it reconnects after every kill.
    if let why = ledger.observerEnded { report.note(\.gaveUp, "the following reader ended: \(why)") }
    return report
  }
}

/// The log as it was read back, and what is wrong with it.
private struct ReadBack {
  /// Where each record lies: by producer, partition, sequence number.
  private var places: [[[UInt64: Int64]]]
  private var lastSequence: [[Int64]]
  private var nextOffset: [Int64]
  private let observed: [[Int64: UInt64]]
  private var observedSeen: [Int]
  private let ledger: Ledger

  init(producers: Int, partitions: Int, ledger: Ledger) {
    places = Array(repeating: Array(repeating: [:], count: partitions), count: producers)
    lastSequence = Array(repeating: Array(repeating: -1, count: partitions), count: producers)
    nextOffset = Array(repeating: 0, count: partitions)
    observedSeen = Array(repeating: 0, count: partitions)
    observed = ledger.observed
    self.ledger = ledger
  }

  mutating func take(_ record: ConsumedRecord, _ report: inout Report) {
    report.found += 1
    let partition = Int(record.partition)
    let place = "partition \(partition) offset \(record.offset)"
    if record.offset != nextOffset[partition] {
      report.note(\.gaps, "\(place): expected offset \(nextOffset[partition])")
    }
    nextOffset[partition] = record.offset + 1
    if let hash = observed[partition][record.offset] {
      observedSeen[partition] += 1
      if hash != Payload.fnv((record.value ?? [])[...]) {
        report.note(\.altered, "\(place): a reader saw other bytes here before")
      }
    }
    guard let payload = Payload(record.value ?? []), payload.partition == partition,
      places.indices.contains(payload.producer), record.key == Array((record.value ?? []).prefix(4))
    else {
      report.note(\.altered, "\(place): the bytes are not what a producer sent here")
      return
    }
    let name = "\(place): producer \(payload.producer) record \(payload.sequence)"
    if places[payload.producer][partition].updateValue(record.offset, forKey: payload.sequence) != nil {
      report.note(\.duplicated, name)
    } else if Int64(payload.sequence) < lastSequence[payload.producer][partition] {
      report.note(\.reordered, name)
    }
    lastSequence[payload.producer][partition] = max(
      lastSequence[payload.producer][partition], Int64(payload.sequence))
  }

  func finish(_ report: inout Report) {
    for (producer, lanes) in ledger.lanes.enumerated() {
      for (partition, lane) in lanes.enumerated() {
        report.sent += Int(lane.sent)
        report.acknowledged += lane.acknowledged.count
        for (sequence, offset) in lane.acknowledged {
          let name =
            "producer \(producer) partition \(partition) record \(sequence), acknowledged at \(offset)"
          guard let found = places[producer][partition][sequence] else {
            report.note(\.lost, name)
            continue
          }
          if offset >= 0, found != offset { report.note(\.moved, "\(name), found at \(found)") }
        }
      }
    }
    for (partition, seen) in observedSeen.enumerated() {
      report.observed += observed[partition].count
      if seen < observed[partition].count {
        report.note(
          \.vanished, "partition \(partition): \(observed[partition].count - seen) records that a reader saw")
      }
    }
  }
}

/// The counts, and the first examples of what is wrong.
struct Report: Sendable {
  var sent = 0
  var acknowledged = 0
  var found = 0
  var observed = 0
  var lost = 0
  var duplicated = 0
  var reordered = 0
  var altered = 0
  var moved = 0
  var gaps = 0
  var vanished = 0
  var gaveUp = 0
  var unreadable = 0
  private(set) var examples: [String] = []

  mutating func note(_ count: WritableKeyPath<Report, Int>, _ example: String) {
    self[keyPath: count] += 1
    if self[keyPath: count] <= 3 { examples.append(example) }
  }

  var isClean: Bool {
    lost + duplicated + reordered + altered + moved + gaps + vanished + gaveUp + unreadable == 0
      && acknowledged > 0
      && found == sent && acknowledged == sent
  }

  var summary: String {
    """
    sent \(sent), acknowledged \(acknowledged), found \(found), seen by a following reader \(observed); \
    lost \(lost), duplicated \(duplicated), reordered \(reordered), altered \(altered), moved \(moved), \
    offset gaps \(gaps), vanished \(vanished), gave up \(gaveUp), unreadable \(unreadable)
    """
  }
}
