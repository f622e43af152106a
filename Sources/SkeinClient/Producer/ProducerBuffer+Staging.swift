import RecordFormat
import SkeinCore

/// Topics whose partitioner is a plug-in at the broker (`broker_assigns`): records are staged, the broker is asked
/// where they go, and then they go into ordinary sequenced batches, as if they had been appended only now.
///
/// 1. A record without an explicit partition is copied into the topic's open chunk, within the same bound of
///    bytes: mostly by `StagingFront`, without the producer's lock. One with a partition is, too, while anything is
///    staged: it must not overtake.
/// 2. Whenever nothing is on its way, or a chunk is full, the chunk is asked about (`nextQuestion`); up to
///    `Staging.window` of them at once.
/// 3. Answers are applied in the order of the records (`ProducerBuffer+Placing.swift`). -1 is any: the partition that
///    keyless records stick to now.
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
