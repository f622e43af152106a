/// What one JSON request may cost. A plain value.
package struct JSONLimits: Sendable {
  /// The body, and the protobuf message made of it, in bytes. Over it: MESSAGE_TOO_LARGE.
  package var maxBodyBytes = 16 << 20
  /// Arrays and objects within each other, the outermost counting 1. Over it: JSON_INVALID.
  package var maxNesting = 32
  /// Messages within messages, as in `WireLimits`. Over it: JSON_INVALID.
  package var maxDepth = 12
  /// Values of a body: members of objects and elements of arrays. Over it: JSON_INVALID.
  package var maxValues = 500_000
  /// Bodies and answers up to this many bytes are worked on by the event loop; larger ones, which may take
  /// Foundation milliseconds (5 µs a number), by the pool.
  package var maxBytesOnLoop = 2 << 10
  /// Problems of one request that are listed; the rest is not looked for.
  package var maxViolations = 32
  /// When the request names no timeout, and the longest that it may name.
  package var defaultTimeoutSeconds: Int64 = 90
  package var maxTimeoutSeconds: Int64 = 600

  package init() {}

  /// What parsing a body takes beside the body, as charged to the memory budget: its text twice and up to 78
  /// bytes a value (measured).
  func treeBytes(body: Int, values: Int) -> Int { 2 * body + 96 * values }
}
