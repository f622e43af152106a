import RecordFormat
import SkeinCore

/// An idempotent producer for one partition: numbers its batches, keeps what is not acknowledged, and
/// sends that again in order after every restart (P10).
struct SimulatedProducer {
  struct Batch {
    var sequence: Int32
    var values: [String]
    /// Where the log has put it, as far as the producer was told.
    var base: Int64?
    var isAcknowledged = false
  }

  let id: Int64
  let partition: Int
  private(set) var epoch: Int16 = 0
  private var nextSequence: Int32
  private var counter = 0
  /// Oldest first; acknowledged ones stay a while, to be sent once more on purpose.
  var batches: [Batch] = []

  /// - Parameter start: sequences begin at 0; a test of the wrap begins with one huge batch count.
  init(id: Int64, partition: Int) {
    self.id = id
    self.partition = partition
    self.nextSequence = 0
  }

  var unacknowledged: [Int] { batches.indices.filter { !batches[$0].isAcknowledged } }

  /// A new batch of unique records; its index.
  mutating func make(_ random: SeededRandom) -> Int {
    let count = 1 + random.below(4)
    let values = (0..<count).map { _ -> String in
      counter += 1
      let padding = random.below(8) == 0 ? random.below(1500) : random.below(120)
      return "\(partition).\(id).\(epoch).\(counter)." + String(repeating: "abcdefghij", count: padding / 10)
    }
    batches.append(Batch(sequence: nextSequence, values: values))
    nextSequence += Int32(count)
    if batches.count > 40, batches[0].isAcknowledged { batches.removeFirst() }
    return batches.count - 1
  }

  /// Takes back a batch that was refused before anything was applied.
  mutating func withdrawLast() {
    guard let last = batches.popLast() else { return }
    nextSequence = last.sequence
  }

  /// Starts again under a new epoch: what was in flight is given up.
  mutating func restart() {
    epoch += 1
    nextSequence = 0
    batches = []
  }

  /// The bytes of a batch, made anew each time: the log stamps what it is given.
  func bytes(_ index: Int, timestamp: Int64) throws -> (SharedBytes, BatchHeader) {
    let batch = batches[index]
    var builder = BatchBuilder(capacity: 512)
    for value in batch.values {
      try SharedBytes(Array(value.utf8)).withUnsafeBytes {
        try builder.append(key: nil, value: $0, timestamp: timestamp)
      }
    }
    let bytes = try builder.finish(producerID: id, producerEpoch: epoch, baseSequence: batch.sequence)
    return (bytes, try bytes.withUnsafeBytes { try BatchCheck.produce($0) })
  }
}
