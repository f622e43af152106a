import RecordFormat
import SkeinCore

/// Who says where a topic's records go.
enum TopicPartitioner: Sendable, Hashable {
  /// We do.
  case builtIn(BuiltInPartitioner)
  /// The broker does, told this much of each record.
  case asked(AssignmentShape)

  /// For records about which nobody is asked, or that the broker leaves to us.
  var local: BuiltInPartitioner { if case .builtIn(let partitioner) = self { partitioner } else { .sticky } }
  var asked: AssignmentShape? { if case .asked(let shape) = self { shape } else { nil } }
}

/// What a topic is after its partitioner or partition count changed.
struct TopicChange: Sendable {
  var partitioner: TopicPartitioner
  var generation: UInt32
  var partitions: Int32
}

/// Placing records anew when a topic's partitioner changes (PARTITIONER_CHANGED).
///
/// 1. The topic is *changing*: its lanes are held; records go on being taken, under the old partitioner.
/// 2. The topic is described again; every lane becomes quiet: what was sent is appended or certainly not.
/// 3. In one step all that is left, queued and open, is taken out lane by lane and appended again under the
///    new partitioner, with its waiters, tags, deadlines and codec. Records with an explicit partition go back
///    to it. Where the broker is asked now, "appended" is "staged"; what was staged before comes behind, asked
///    about anew, or placed here if the new partitioner is a built-in.
/// Nothing is twice, because nothing taken out was appended; order per key holds, because a key's records were
/// in one lane and are taken out in order before any later one is accepted.
extension ProducerBuffer {
  /// Holds the topic's lanes until it is known what the topic is now.
  mutating func beginChange(_ topic: Int, machine: inout ProducerMachine) {
    guard !topics[topic].isChanging else { return }
    topics[topic].isChanging = true
    changing += 1
    for lane in topics[topic].lanes { machine.hold(lane) }
  }

  /// The topic is gone, or is what it was: sends again, and the broker says what is wrong.
  mutating func cancelChange(_ topic: Int, machine: inout ProducerMachine) {
    guard topics[topic].isChanging else { return }
    endChange(topic)
    for lane in topics[topic].lanes { machine.release(lane) }
  }

  private mutating func endChange(_ topic: Int) {
    topics[topic].isChanging = false
    topics[topic].change = nil
    changing -= 1
  }

  /// Topics whose change is known and whose lanes are all quiet.
  func dueChanges(_ machine: ProducerMachine) -> [Int] {
    topics.indices.filter { topic in
      topics[topic].change != nil && topics[topic].staging?.placing == nil
        && topics[topic].lanes.allSatisfy { machine.isQuiet($0) }
    }
  }

  /// The records of one batch, taken out of their lane.
  private struct Moved {
    let payload: SharedBytes
    let partition: Int32
    let ticket: BatchTicket
  }

  /// Step 3. All lanes of the topic are quiet.
  mutating func repartition(_ topic: Int, clock: SystemClock, machine: inout ProducerMachine) {
    guard let change = topics[topic].change else { return }
    let front = topics[topic].front
    front.bar(true)
    defer { front.bar(false) }
    topics[topic].staging?.handedOver = nil
    if let staging = topics[topic].staging { close(staging) }
    let later = topics[topic].staging?.chunks.drain() ?? []
    let moved = takeOut(topic, machine: &machine)
    topics[topic].partitioner = change.partitioner.local
    topics[topic].staging = staging(change.partitioner, front: front)
    topics[topic].generation = change.generation
    addLanes(topic: topic, upTo: change.partitions, machine: &machine)
    endChange(topic)
    var reader = BatchReader(limits: limits)
    for batch in moved { place(batch, topic: topic, clock: clock, reader: &reader, machine: &machine) }
    guard let staging = topics[topic].staging else {
      for chunk in later { place(chunk, nil, topic: topic, clock: clock, machine: &machine) }
      return
    }
    close(staging)
    for chunk in later { staging.chunks.append(chunk) }
    staging.forgetAnswers()
  }

  private mutating func takeOut(_ topic: Int, machine: inout ProducerMachine) -> [Moved] {
    var moved: [Moved] = []
    for lane in topics[topic].lanes {
      let partition = machine.lanes[lane].partition
      for batch in machine.takeAll(lane) {
        used -= batch.chargedBytes
        moved.append(Moved(payload: batch.payload, partition: partition, ticket: batch.ticket))
      }
      guard let batch = open[lane] else { continue }
      open[lane] = nil
      do {
        let payload = try batch.builder.finish()
        batch.builder = BatchBuilder(capacity: 0)
        used -= batch.charged
        moved.append(Moved(payload: payload, partition: partition, ticket: batch.takeTicket()))
      } catch {
        spoiled.append((lane, batch, SkeinError(error.fault)))
      }
    }
    return moved
  }

  private mutating func place(
    _ moved: Moved, topic: Int, clock: SystemClock, reader: inout BatchReader,
    machine: inout ProducerMachine
  ) {
    let ticket = moved.ticket
    var (index, nextWaiter, nextSwitch) = (Int32(0), 0, 0)
    var failures: [(waiter: RecordWaiter?, tag: UInt64?, error: SkeinError)] = []
    do {
      try moved.payload.withUnsafeBytes { bytes in
        _ = try reader.forEach(bytes, verifyingChecksum: false) { record in
          var waiter: RecordWaiter?
          if nextWaiter < ticket.waiters.count, ticket.waiters[nextWaiter].index == index {
            waiter = ticket.waiters[nextWaiter].waiter
            nextWaiter += 1
          }
          let isExplicit = ticket.placement.isExplicit(index, &nextSwitch)
          let input = RecordInput(
            key: record.key, value: record.value, headers: record.headers,
            headerBytes: record.headers.sizeInBytes, timestamp: record.timestamp,
            partition: isExplicit ? moved.partition : nil,
            tag: Int(index) < ticket.tags.count ? ticket.tags[Int(index)] : 0, codec: ticket.codec)
          index += 1
          do throws(SkeinError) {
            _ = try append(
              input, topic: topic, waiter: waiter, clock: clock, takenAt: ticket.openedAt, machine: &machine)
          } catch {
            failures.append((waiter, input.tag, error))
          }
        }
      }
    } catch {
      // Our own batch does not read back: a defect, told to everybody who waits for the rest of it.
      for (_, waiter) in ticket.waiters[nextWaiter...] {
        failures.append((waiter, nil, SkeinError(wrapping: error)))
      }
      if ticket.waiters.isEmpty { failures.append((nil, nil, SkeinError(wrapping: error))) }
    }
    for (waiter, tag, error) in failures { spoil(waiter, tag, topic: topic, error, clock) }
  }

  /// A record that cannot be placed anew: it ends like a batch that could not be sealed.
  mutating func spoil(
    _ waiter: RecordWaiter?, _ tag: UInt64?, topic: Int, _ error: SkeinError, _ clock: SystemClock
  ) {
    guard let lane = topics[topic].lanes.first else { return }
    let batch = OpenBatch(
      builder: BatchBuilder(capacity: 0), topic: topic, codec: .none, openedAt: clock.monotonicNanoseconds,
      startsExplicit: true)
    if let waiter { batch.waiters.append((0, waiter)) } else { batch.unattended = 1 }
    if keepsTags, let tag { batch.tags = [tag] }
    spoiled.append((lane, batch, error))
  }
}
