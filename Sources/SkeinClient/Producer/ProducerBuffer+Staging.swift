import RecordFormat
import SkeinCore

/// Topics whose partitioner is a plug-in at the broker (`broker_assigns`): records are staged, the broker is asked
/// where they go, and then they go into ordinary sequenced batches, as if they had been appended only now.
///
/// 1. A record without an explicit partition is copied into the topic's open chunk, within the same bound of
///    bytes. One with a partition is, too, while anything is staged: it must not overtake.
/// 2. Whenever nothing is on its way, or a chunk is full, the chunk is asked about (`nextQuestion`); up to
///    `Staging.window` of them at once.
/// 3. Answers are applied in the order of the records (`place`). -1 is any: the partition that keyless records
///    stick to now.
/// Nothing is published by a question, so one whose answer was lost, late or of another generation is asked again.
extension ProducerBuffer {
  func staging(_ partitioner: TopicPartitioner, front: StagingFront) -> Staging? {
    partitioner.asked.map { shape in
      Staging(
        shape: shape, front: front, chunkBytes: Staging.chunkBytes(bufferBytes: configuration.bufferBytes),
        lingerNanoseconds: lingerNanoseconds)
    }
  }

  /// Whether anything waits for a partition.
  var hasStaged: Bool { topics.contains { $0.staging.map { !$0.isEmpty } ?? false } }

  /// The number of the oldest staged chunk.
  var oldestStaged: UInt64? {
    var oldest: UInt64?
    for case let staging? in topics.lazy.map(\.staging) {
      for at in 0..<staging.chunks.count { oldest = min(oldest ?? .max, staging.chunks[at].number) }
      if let filling = staging.front.status { oldest = min(oldest ?? .max, filling.number) }
      if let placing = staging.placing { oldest = min(oldest ?? .max, placing.chunk.number) }
    }
    return oldest
  }

  /// Copies one record into the topic's chunk.
  mutating func stage(
    _ record: RecordInput, cost: Int, staging: Staging, topic: Int, waiter: RecordWaiter?, clock: SystemClock,
    takenAt: Int64?
  ) throws(SkeinError) -> Appended {
    try check(record, topic: topic)
    var opened = false
    if !staging.front.put(record, cost: cost, waiter: waiter, takenAt: takenAt) {
      close(staging)
      guard hasRoom(cost) || takenAt != nil else { return .full }
      lastChunk += 1
      let chunk = staging.makeChunk(number: lastChunk, openedAt: takenAt ?? clock.monotonicNanoseconds)
      let room = max(cost, min(staging.chunkBytes, configuration.bufferBytes - used))
      used += room
      staging.front.open(
        chunk, room: room, limits: limits, keepsTags: keepsTags, first: record, cost: cost, waiter: waiter)
      opened = true
    }
    // The pump asks about the first one at once; the next ones go when they are full, or with an answer.
    let hasTurn = opened && staging.chunks.count < Staging.window
    return .taken(
      sealed: hasTurn, opened: false,
      places: staging.handedOver != nil && staging.placing == nil && !topics[topic].isChanging)
  }

  /// Closes the chunk that takes records and gives back what it did not take.
  mutating func close(_ staging: Staging) {
    staging.close()
    used -= staging.takeUnused()
  }

  /// What `BatchBuilder` would refuse is refused before it is taken.
  private func check(_ record: RecordInput, topic: Int) throws(SkeinError) {
    let size = (record.key?.count ?? 0) + (record.value?.count ?? 0) + record.headers.sizeInBytes
    let error: BatchError? =
      if size > limits.maxRecordBytes {
        .recordTooLarge(index: 0, size: size, limit: limits.maxRecordBytes)
      } else if record.headers.count > limits.maxHeaders {
        .tooManyHeaders(record.headers.count, limit: limits.maxHeaders)
      } else if record.timestamp < 0 {
        .timestampInvalid(record.timestamp)
      } else { nil }
    if let error { throw SkeinError(error.fault) }
    if record.partition != nil { _ = try choose(record, topic: topic) }
  }

  // MARK: Asking

  /// What to ask next, or nil.
  mutating func nextQuestion(now: Int64) -> AssignmentQuestion? {
    for topic in topics.indices {
      guard let staging = topics[topic].staging, !staging.isEmpty, !topics[topic].isChanging else { continue }
      if let until = staging.pausedUntil {
        guard until <= now else { continue }
        staging.pausedUntil = nil
      }
      let next = staging.nextToAsk(now: now)
      used -= staging.takeUnused()
      guard let at = next else { continue }
      lastQuestion += 1
      let chunk = staging.chunks[at]
      guard
        let question = chunk.question(
          requestID: lastQuestion, topic: topics[topic].name, generation: topics[topic].generation,
          shape: staging.shape)
      else { continue }
      chunk.state = .asked(requestID: lastQuestion)
      chunk.generation = topics[topic].generation
      questions[lastQuestion] = topic
      return question
    }
    return nil
  }

  /// When a topic has something to ask or to place that it has not now, in monotonic nanoseconds. What is due already
  /// is done by this run of the pump, or by the next one that finds the stream writable: a timer for it would only spin.
  func nextQuestionDue(after now: Int64) -> Int64? {
    topics.lazy.compactMap { topic -> Int64? in
      guard !topic.isChanging, let staging = topic.staging else { return nil }
      let due = staging.pausedUntil ?? staging.fillingDue
      return [due, staging.handedOver].lazy.compactMap { $0 }.filter { $0 > now }.min()
    }.min()
  }

  /// The stream is gone, and the answers with it.
  mutating func questionsLost() {
    questions.removeAll(keepingCapacity: true)
    for case let staging? in topics.lazy.map(\.staging) { staging.forgetAnswers() }
  }

  /// The broker answered. Returns the topic if the broker has another generation of it than we asked for.
  mutating func answered(_ answer: AssignmentAnswer, now: Int64, random: any RandomSource) -> Int? {
    guard let topic = questions.removeValue(forKey: answer.requestID), let staging = topics[topic].staging,
      let at = staging.asked(answer.requestID)
    else { return nil }
    let chunk = staging.chunks[at]
    chunk.state = .waiting
    let isOutdated =
      answer.error.map { $0.reason == Reason.partitionerChanged.name }
      ?? (answer.generation != chunk.generation)
    if isOutdated { return topic }
    if let error = answer.error {
      refused(chunk, error, topic: topic, now: now, random: random)
      return nil
    }
    let count = Int32(topics[topic].lanes.count)
    let (least, most) = Self.extremes(answer.partitions)
    guard answer.partitions.count == chunk.askedCount, least >= -1, most < count else {
      refused(
        chunk,
        SkeinError(
          .internalError,
          "the broker answered \(answer.partitions.count) partitions, of 0 to \(count - 1) or -1, for \(chunk.askedCount) records of \(topics[topic].name): this is a defect of the broker; nothing was sent",
          outcome: .definite), topic: topic, now: now, random: random)
      return nil
    }
    staging.backoff.reset()
    chunk.state = .answered(answer.partitions)
    chunk.isPlacedWhole = least >= 0
    let isFlowing = staging.front.status.map { $0.count >= staging.worthAsking } ?? false
    let isRoomy = used * 8 <= configuration.bufferBytes * 7
    staging.handedOver = staging.handedOver ?? (isFlowing && isRoomy ? now + Staging.handOver : 0)
    return nil
  }

  private static func extremes(_ partitions: [Int32]) -> (least: Int32, most: Int32) {
    var (least, most) = (Int32.max, Int32.min)
    for partition in partitions {
      least = min(least, partition)
      most = max(most, partition)
    }
    return (least, most)
  }

  private mutating func refused(
    _ chunk: StagedChunk, _ error: SkeinError, topic: Int, now: Int64, random: any RandomSource
  ) {
    guard let staging = topics[topic].staging else { return }
    guard error.isRetriable else {
      for chunk in staging.remove(where: { $0 === chunk }) { unplaced.append((topic, chunk, error)) }
      return
    }
    chunk.refusal = error
    let asked = error.retryAfter?.nanosecondsClamped ?? 0
    // Several questions may be refused for one cause: they share one pause.
    guard staging.pausedUntil == nil else { return }
    staging.pausedUntil = now + max(staging.backoff.next(random), min(asked, staging.backoff.limit))
  }

  // MARK: Placing

  /// A topic whose answers the loop is to apply now.
  func topicToPlace(now: Int64) -> Int? {
    topics.indices.first { topic in
      guard !topics[topic].isChanging, let staging = topics[topic].staging, staging.placing == nil,
        case .answered? = staging.chunks.first?.state
      else { return false }
      return staging.handedOver ?? 0 <= now
    }
  }

  /// Everything whose answer is there, and all before it, goes into its batches: small chunks and special ones here,
  /// up to the first large plain one, which is returned, to be placed outside of the lock.
  mutating func beginPlacing(_ topic: Int, clock: SystemClock, machine: inout ProducerMachine)
    -> ChunkPlacing?
  {
    guard let staging = topics[topic].staging, staging.placing == nil, !topics[topic].isChanging else {
      return nil
    }
    staging.handedOver = nil
    while let (chunk, partitions) = staging.takeAnswered() {
      guard isPlacedOutside(chunk, topic: topic) else {
        place(chunk, partitions, topic: topic, clock: clock, machine: &machine)
        continue
      }
      let lanes = topics[topic].lanes
      let placing = ChunkPlacing(
        topic: topic, chunk: chunk, partitions: partitions, codec: topics[topic].codec,
        metrics: topics[topic].metrics, limits: limits, batchBytes: batchBytes, open: lanes.map { open[$0] },
        hints: lanes.map { sizeHints[$0] })
      for lane in lanes {
        open[lane]?.isAway = true
        open[lane] = nil
      }
      staging.placing = placing
      return placing
    }
    return nil
  }

  /// Sorting by partition pays for many records, and must not have to look for one that fits nowhere.
  private func isPlacedOutside(_ chunk: StagedChunk, topic: Int) -> Bool {
    chunk.isPlain && chunk.isPlacedWhole && chunk.count >= 32 && chunk.count * 2 >= topics[topic].lanes.count
      && chunk.largest <= limits.maxRecordBytes
      && chunk.largest + Self.recordOverhead * 2 <= limits.maxBatchBytes - BatchHeader.size
  }

  /// What was placed outside of the lock: full batches are sealed, the others take records again.
  mutating func endPlacing(_ placing: ChunkPlacing, clock: SystemClock, machine: inout ProducerMachine) {
    let topic = placing.topic
    used += placing.added - placing.chunk.charged
    let lanes = topics[topic].lanes
    for (partition, batch) in placing.full {
      let lane = lanes[partition]
      batch.isAway = false
      if var failure = machine.failure {
        failure.outcome = .definite
        spoiled.append((lane, batch, failure))
      } else {
        open[lane] = batch
        seal(lane, machine: &machine)
      }
    }
    for (partition, batch) in placing.open.enumerated() {
      guard let batch else { continue }
      let lane = lanes[partition]
      open[lane] = batch
      if !batch.isAway {
        lingering.append((lane, batch))
      } else if batch.isRipe {
        batch.isParked = false
        ripe.append(lane)
      }
      batch.isAway = false
    }
    for _ in 0..<placing.refused {
      let why = "\(topics[topic].name): a record fits no batch; this is a defect of the SDK"
      spoil(nil, topic: topic, SkeinError(.internalError, why, outcome: .definite), clock)
    }
    topics[topic].staging?.placing = nil
    topics[topic].staging?.keep(placing.chunk)
  }

  /// - Parameter partitions: one per record that was asked about; nil: the topic has a built-in partitioner now.
  mutating func place(
    _ chunk: StagedChunk, _ partitions: [Int32]?, topic: Int, clock: SystemClock,
    machine: inout ProducerMachine
  ) {
    used -= chunk.charged
    var next = 0
    var failures: [(waiter: RecordWaiter?, error: SkeinError)] = []
    let (lanes, codec) = (topics[topic].lanes, topics[topic].codec)
    chunk.forEach { record, waiter in
      var record = record
      if let partitions, record.partition == nil {
        record.assigned = partitions[next]
        next += 1
        // Almost always the batch is open and has room.
        if record.assigned >= 0, add(record, to: lanes[Int(record.assigned)], waiter, codec) { return }
      }
      do throws(SkeinError) {
        _ = try put(
          record, topic: topic, waiter: waiter, clock: clock, takenAt: chunk.openedAt, machine: &machine)
      } catch {
        failures.append((waiter, error))
      }
    }
    topics[topic].staging?.keep(chunk)
    for (waiter, error) in failures { spoil(waiter, topic: topic, error, clock) }
  }

  /// Adds a record to the lane's open batch if that neither opens nor closes one.
  @inline(__always)
  private mutating func add(_ record: RecordInput, to lane: Int, _ waiter: RecordWaiter?, _ codec: Codec)
    -> Bool
  {
    let cost = record.sizeInBytes + Self.recordOverhead
    guard let batch = open[lane], batch.charged + cost < batchBytes, batch.codec == record.codec ?? codec,
      (try? batch.builder.append(
        key: record.key, value: record.value, headers: record.headers, timestamp: record.timestamp)) != nil
    else { return false }
    batch.book(record, cost: cost, waiter: waiter, keepsTag: keepsTags)
    used += cost
    return true
  }

  // MARK: Ends

  /// Chunks past their delivery deadline fail: nothing of them was sent. Old open ones are closed, so that a
  /// deadline takes few younger records along.
  mutating func expireStaged(now: Int64) {
    for topic in topics.indices {
      guard let staging = topics[topic].staging else { continue }
      guard !staging.isEmpty else {
        staging.dropSpares()
        continue
      }
      if let filling = staging.front.status, now - filling.openedAt > Staging.maxAge { close(staging) }
      guard let first = staging.chunks.first, first.openedAt + deadlineNanoseconds <= now else { continue }
      for chunk in staging.remove(where: { $0.openedAt + deadlineNanoseconds <= now }) {
        unplaced.append((topic, chunk, Self.notPlaced(topics[topic].name, chunk.refusal)))
      }
    }
  }

  private static func notPlaced(_ topic: String, _ refusal: SkeinError?) -> SkeinError {
    let why = refusal.map { "the last answer was \($0)" } ?? "there was no answer"
    return SkeinError(
      .deadlineExceeded,
      "\(topic): the broker did not say within the delivery deadline to which partitions the records go (\(why)); nothing was stored. Check the topic's partitioner with `skein plugin info`, then send again.",
      metadata: ["topic": topic], outcome: .definite, cause: refusal)
  }

  /// The producer failed: everything staged, with its topic.
  mutating func abandonStaged() -> [(topic: Int, chunk: StagedChunk)] {
    var all: [(Int, StagedChunk)] = []
    for topic in topics.indices {
      guard let staging = topics[topic].staging else { continue }
      close(staging)
      for chunk in staging.chunks.drain() { all.append((topic, chunk)) }
    }
    return all
  }

  /// Closes what takes records, so that a flush has a number to wait for.
  mutating func closeStaged() {
    for case let staging? in topics.map(\.staging) { close(staging) }
  }
}
