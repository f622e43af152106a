import SkeinCore

/// What a change of a topic's partitioner asks of its lanes: they are held, what may have been appended is
/// asked about until it is certain, then everything left is taken out and placed anew.
///
/// A record's order with others of its key is kept because all of them lie in one lane, and no lane is taken
/// apart before every lane of the topic is quiet.
extension ProducerMachine {
  /// From now on the lane sends only what may have been appended.
  mutating func hold(_ lane: Int) { lanes[lane].isHeld = true }

  /// Sends again as before.
  mutating func release(_ lane: Int) {
    lanes[lane].isHeld = false
    markReady(lane)
  }

  /// Nothing of the lane is in flight or of unknown outcome: what is in its queue was not appended.
  func isQuiet(_ lane: Int) -> Bool {
    if case .settling = lanes[lane].state { return false }
    return lanes[lane].inFlight == 0 && !lanes[lane].queue.contains { $0.isUncertain }
  }

  /// Takes out everything of a quiet lane, in order, and gives its sequences back; the lane is free again.
  mutating func takeAll(_ lane: Int) -> [OutboundBatch] {
    let all = lanes[lane].queue.drain()
    if let first = all.first { lanes[lane].nextSequence = first.baseSequence }
    lanes[lane].sent = 0
    lanes[lane].overtaken = 0
    lanes[lane].isHeld = false
    outstanding -= all.count
    return all
  }
}
