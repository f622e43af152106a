/// A new lease, as the store granted it.
package struct LeaseGrant: Hashable, Sendable {
  package var id: LeaseID
  /// Seconds; may be more than was asked for (a store has a least time to live).
  package var timeToLive: Int64

  package init(id: LeaseID, timeToLive: Int64) {
    self.id = id
    self.timeToLive = timeToLive
  }
}

/// What is left of a lease.
package struct LeaseStatus: Hashable, Sendable {
  package var id: LeaseID
  /// Whole seconds left, rounded down.
  package var remaining: Int64
  /// Seconds it was granted for; each keep-alive starts them anew.
  package var grantedTimeToLive: Int64
  /// Keys bound to it, in byte order; empty unless asked for.
  package var keys: [[UInt8]]

  package init(id: LeaseID, remaining: Int64, grantedTimeToLive: Int64, keys: [[UInt8]]) {
    self.id = id
    self.remaining = remaining
    self.grantedTimeToLive = grantedTimeToLive
    self.keys = keys
  }
}
