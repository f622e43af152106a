import SkeinCore

/// A sealed record batch on its way to the broker, with everything needed to send it again unchanged.
struct OutboundBatch: Sendable {
  /// Which outcome its last sending had.
  enum Attempt: Sendable {
    /// Not sent on this stream, or refused and to be sent again.
    case waiting
    /// Sent on this stream under that request id; the answer is due.
    case inFlight(UInt64)
    /// Refused, definitely not applied, and worth another try with the same sequence.
    case refused
    /// Refused for good; its records fail when the lane has settled.
    case failed(SkeinError)

    var isInFlight: Bool { requestID != nil }
    var requestID: UInt64? { if case .inFlight(let id) = self { id } else { nil } }
    var isRefusal: Bool {
      switch self {
      case .refused, .failed: true
      case .waiting, .inFlight: false
      }
    }
  }

  /// The batch in the v2 format; rewritten only by `ProducerMachine` when that is safe (P10).
  var payload: SharedBytes
  var baseSequence: Int32
  let recordCount: Int32
  /// What it holds of the producer's buffer, in bytes.
  let chargedBytes: Int
  /// Monotonic nanoseconds after which it is given up.
  let deadline: Int64
  /// The topic's partitioner generation when it was sealed. Batches with explicit partitions name it too: after
  /// a flip no late copy of anything older can be appended, so everything may get new sequences (P10).
  let generation: UInt32
  /// Rises with every batch of the producer; `flush` waits by it.
  let number: UInt64
  /// Who waits for it.
  let ticket: BatchTicket

  var attempt: Attempt = .waiting
  /// How often it was sent; more than one is a retry.
  var sendings = 0
  /// Some sending of it ended without an answer: it may have been applied, or may still be (P10).
  var isUncertain = false
}
