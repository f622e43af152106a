import SkeinCore
import Wire

/// Pausing and seeking. Nothing is lost or repeated by it: a partition goes on after what the application took, or
/// where it said.
extension ConsumerMachine {
  /// The slots of these partitions; nil is all.
  /// - Throws: NOT_ASSIGNED for one that the member does not have.
  private func chosen(_ partitions: [ConsumedPartition]?) throws(SkeinError) -> [Int] {
    guard let partitions else { return slots { _ in true } }
    var found: [Int] = []
    for partition in partitions {
      guard let at = index[partition] else {
        throw SkeinError(
          .notAssigned, "\(partition) is not the member's (any more); it has \(owned)",
          metadata: ["topic": partition.topic, "partition": String(partition.partition)])
      }
      found.append(at)
    }
    return found
  }

  mutating func pause(_ partitions: [ConsumedPartition]?) throws(SkeinError) {
    let paused = try chosen(partitions).filter { slots[$0]?.isPaused == false }
    for at in paused {
      slots[at]?.isPaused = true
      // What was received and not taken comes again later, and does not hold up the others until then.
      dropQueue(at)
      if slots[at]?.lease != nil { slots[at]?.isCut = true }
      if let position = slots[at]?.position { slots[at]?.received = position }
    }
    grantCredit()
    guard isSettled, !paused.isEmpty else { return }
    effects.append(.send(SubscribeRequest(pause: MemberPause(pause: wire(paused.compactMap { slots[$0] })))))
  }

  mutating func resume(_ partitions: [ConsumedPartition]?) throws(SkeinError) {
    let resumed = try chosen(partitions).filter { slots[$0]?.isPaused == true }
    for at in resumed {
      slots[at]?.isPaused = false
      if slots[at]?.isFailed == false, let received = slots[at]?.received { sendSeek(at, to: received) }
    }
    guard isSettled, !resumed.isEmpty else { return }
    effects.append(
      .send(SubscribeRequest(pause: MemberPause(resume: wire(resumed.compactMap { slots[$0] })))))
  }

  mutating func seek(_ positions: [ConsumedPartition: ReadPosition]) throws(SkeinError) {
    let order = positions.keys.sorted()
    for (partition, position) in positions where position.offset < 0 {
      throw SkeinError(.invalidRequest, "\(partition): an offset is not negative, this is \(position.offset)")
    }
    for (partition, at) in zip(order, try chosen(order)) {
      if let position = positions[partition] { move(at, to: position) }
    }
  }

  /// Goes on elsewhere; what was received of the partition, and what is in somebody's hand, counts no more.
  mutating func move(_ at: Int, to position: ReadPosition) {
    slots[at]?.generation += 1
    dropQueue(at)
    slots[at]?.pending = FIFO()
    slots[at]?.processed = nil
    slots[at]?.received = position
    slots[at]?.position = position
    slots[at]?.isFailed = false
    slots[at]?.retryAt = nil
    sendSeek(at, to: position)
    grantCredit()
  }

  /// Tells the broker; between streams the next one begins there anyway.
  mutating func sendSeek(_ at: Int, to position: ReadPosition) {
    guard let partition = slots[at]?.partition else { return }
    guard isSettled else {
      slots[at]?.needsSeek = isConnected
      return
    }
    let number = (seeks[partition] ?? 0) + 1
    seeks[partition] = number
    slots[at]?.seek = number
    slots[at]?.needsSeek = false
    effects.append(
      .send(
        SubscribeRequest(
          seek: MemberSeek(
            number: number, topic: partition.topic, partition: partition.partition, offset: position.offset)))
    )
  }
}
