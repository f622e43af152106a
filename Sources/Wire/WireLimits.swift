/// What one message may cost to decode. Exceeding any of these is `MALFORMED_MESSAGE`, except
/// `maxSlicedElements`, which is `INVALID_REQUEST`.
///
/// The length of the message itself is the transport's limit; these bound what a message of
/// permitted length can make of it.
package struct WireLimits: Sendable {
  /// Messages within messages, the outermost counting 1. Our deepest is 5.
  package var maxDepth = 12
  /// Fields altogether, nested ones included; bounds the time of the scan.
  package var maxFields = 4_000_000
  /// Entries of repeated fields altogether, nested ones included.
  package var maxElements = 500_000
  /// Entries of a field that is decoded to slices: records of a publish, partitions of a fetch.
  package var maxSlicedElements = 100_000
  /// Fields that this version does not know; protobuf-c keeps a copy of each.
  package var maxUnknownFields = 10_000
  /// The bytes of those fields.
  package var maxUnknownBytes = 1 << 20
  /// protobuf-c may allocate max(`arenaFloor`, `arenaFactor` × message length) bytes.
  ///
  /// The floor lets a fetch of 1,000 partitions with one-letter topics pass, which needs 120 KiB for
  /// 7 KiB of message, and a commit of 10,000 offsets, which needs 1.4 MiB for 120 KiB.
  package var arenaFloor = 2 << 20
  package var arenaFactor = 8

  package init() {}

  /// For what arrives at a broker.
  package static let standard = WireLimits()

  /// For answers that a client asked for: many small entries are usual there.
  package static let reply: WireLimits = {
    var limits = WireLimits()
    limits.maxElements = 4_000_000
    limits.maxSlicedElements = 2_000_000
    limits.arenaFactor = 32
    return limits
  }()

  func arenaBudget(messageBytes: Int) -> Int {
    let (scaled, overflow) = messageBytes.multipliedReportingOverflow(by: arenaFactor)
    return max(arenaFloor, overflow ? .max : scaled)
  }
}
