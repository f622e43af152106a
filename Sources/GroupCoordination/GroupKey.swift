internal import SkeinCore

/// Names a consumer group: groups of the same name in two tenants have nothing in common.
package struct GroupKey: Hashable, Comparable, Sendable, CustomStringConvertible {
  package let tenant: String
  package let name: String

  package init(tenant: String, name: String) {
    self.tenant = tenant
    self.name = name
  }

  package static func < (a: GroupKey, b: GroupKey) -> Bool { (a.tenant, a.name) < (b.tenant, b.name) }

  package var description: String { "\(tenant)/\(name)" }

  /// The partition of `__groups` whose leader coordinates this group: murmur2 over tenant, a zero byte, name.
  /// A tenant's name holds no zero byte, so that no two keys are the same bytes.
  package func partition(of count: Int32 = GroupLimits.logPartitions) -> Int32 {
    let bytes = Array(tenant.utf8) + [0] + Array(name.utf8)
    return bytes.withUnsafeBytes { Murmur2.partition($0, count: max(count, 1)) }
  }
}

/// One stream of a member, named by whoever carries it. Never used twice by one broker process.
package struct SessionID: Hashable, Sendable, CustomStringConvertible {
  package let rawValue: UInt64
  package init(_ rawValue: UInt64) { self.rawValue = rawValue }
  package var description: String { "session \(rawValue)" }
}

/// One request that waits for its answer. Named by the caller; each is answered exactly once.
package struct ReplyToken: Hashable, Sendable {
  package let rawValue: UInt64
  package init(_ rawValue: UInt64) { self.rawValue = rawValue }
}

/// The two clocks at one moment. Timeouts use the first, dates the second (R60).
package struct GroupInstant: Sendable, Hashable {
  /// Nanoseconds since an arbitrary start; never goes back.
  package var monotonic: Int64
  /// Milliseconds since 1970-01-01 UTC; may jump.
  package var wall: Int64

  package init(monotonic: Int64, wall: Int64) {
    self.monotonic = monotonic
    self.wall = wall
  }
}
