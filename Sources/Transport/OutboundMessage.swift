package import SkeinCore

/// One gRPC message to send: `head` followed by `parts`, without the 5-byte prefix, which Transport
/// adds. The parts are not copied: they are encrypted from where they lie and held until then.
///
/// A plain value; any thread. With one part or none no array is allocated for the parts.
package struct OutboundMessage: Sendable {
  package let head: [UInt8]
  let first: SharedBytes?
  let rest: [SharedBytes]
  /// Bytes of head and parts together.
  package let count: Int
  /// The bytes are compressed with the encoding that the call announced.
  let isCompressed: Bool
  /// What the sender charged for it; kept until it is encrypted, or dropped with its call.
  package var charge: MemoryBudget.Reservation?

  /// - Parameter head: usually the encoded envelope in front of a payload.
  package init(head: [UInt8], parts: [SharedBytes] = []) {
    self.head = head
    self.first = parts.first
    self.rest = parts.count > 1 ? Array(parts.dropFirst()) : []
    self.count = parts.reduce(head.count) { $0 + $1.count }
    self.isCompressed = false
  }

  /// `head` and one payload.
  package init(head: [UInt8], payload: SharedBytes) {
    self.head = head
    self.first = payload
    self.rest = []
    self.count = head.count + payload.count
    self.isCompressed = false
  }

  /// What `MessageDeflater` made.
  init(compressed bytes: SharedBytes) {
    self.head = []
    self.first = bytes
    self.rest = []
    self.count = bytes.count
    self.isCompressed = true
  }

  /// A message that is one run of shared bytes.
  package init(_ bytes: SharedBytes) { self.init(head: [], payload: bytes) }

  package var parts: [SharedBytes] { (first.map { [$0] } ?? []) + rest }
}
