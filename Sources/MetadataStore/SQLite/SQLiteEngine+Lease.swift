import SkeinCore

/// The deadlines of all leases; the leases themselves are in a table, their deadlines are not.
struct LeaseTable {
  private struct Row {
    var seconds: Int64
    /// On `TimeSource.monotonicNanoseconds`.
    var deadline: Int64
  }
  private var rows: [LeaseID: Row] = [:]
  /// No lease ends before it; may be earlier than the earliest.
  private var earliest = Int64.max

  var count: Int { rows.count }

  func contains(_ lease: LeaseID) -> Bool { rows[lease] != nil }

  mutating func insert(_ lease: LeaseID, seconds: Int64, now: Int64) {
    // At most 9e9 seconds: 9e18 ns and the clock together may not fit, so saturate.
    let (sum, overflow) = now.addingReportingOverflow(seconds * 1_000_000_000)
    let deadline = overflow ? Int64.max : sum
    rows[lease] = Row(seconds: seconds, deadline: deadline)
    earliest = min(earliest, deadline)
  }

  mutating func remove(_ lease: LeaseID) { rows[lease] = nil }

  /// Seconds of the grant, and nanoseconds left.
  func left(_ lease: LeaseID, now: Int64) -> (seconds: Int64, nanoseconds: Int64)? {
    rows[lease].map { ($0.seconds, max(0, $0.deadline - now)) }
  }

  /// Makes the next `due` go through all leases.
  mutating func lookAgain() { earliest = 0 }

  /// The leases that have ended, in the order of their ids.
  mutating func due(now: Int64) -> [LeaseID] {
    guard now >= earliest else { return [] }
    earliest = rows.values.map(\.deadline).filter { $0 > now }.min() ?? Int64.max
    return rows.filter { $0.value.deadline <= now }.keys.sorted()
  }
}

extension SQLiteEngine {
  func grantLease(timeToLive: Int64, id: LeaseID) throws(MetadataError) -> LeaseGrant {
    guard timeToLive <= MetadataLimits.mostLeaseSeconds else {
      throw MetadataError(
        .leaseTooLong,
        "\(timeToLive) s is too long for a lease; the limit is \(MetadataLimits.mostLeaseSeconds) s")
    }
    guard leases.count < MetadataLimits.leases else {
      throw MetadataError(.overloaded, "\(MetadataLimits.leases) leases exist already")
    }
    let seconds = max(timeToLive, MetadataLimits.leastLeaseSeconds)
    var lease = id
    while lease == .none || (id == .none && leases.contains(lease)) {
      lease = LeaseID(Int64(random.next() >> 1))
    }
    guard !leases.contains(lease) else {
      throw MetadataError(.leaseExists, "lease \(lease) exists already")
    }
    try commit { () throws(MetadataError) in
      try connection.prepare("INSERT INTO leases(id, seconds) VALUES(?1, ?2)")
        .bind(.integer(lease.rawValue), .integer(seconds)).run()
    }
    leases.insert(lease, seconds: seconds, now: time.monotonicNanoseconds)
    return LeaseGrant(id: lease, timeToLive: seconds)
  }

  func keepAlive(_ lease: LeaseID) throws(MetadataError) -> Int64 {
    let now = time.monotonicNanoseconds
    guard let left = leases.left(lease, now: now) else { throw .leaseNotFound(lease) }
    leases.insert(lease, seconds: left.seconds, now: now)
    return left.seconds
  }

  func revoke(_ lease: LeaseID) throws(MetadataError) {
    guard leases.contains(lease) else { throw .leaseNotFound(lease) }
    let keys = try boundKeys(lease)
    try write { (writer) throws(MetadataError) in
      for key in keys { try writer.delete(key) }
      try connection.prepare("DELETE FROM leases WHERE id = ?1").bind(.integer(lease.rawValue)).run()
    }
    leases.remove(lease)
  }

  func timeToLive(_ lease: LeaseID, keys: Bool) throws(MetadataError) -> LeaseStatus {
    guard let left = leases.left(lease, now: time.monotonicNanoseconds) else {
      throw .leaseNotFound(lease)
    }
    return LeaseStatus(
      id: lease, remaining: left.nanoseconds / 1_000_000_000, grantedTimeToLive: left.seconds,
      keys: keys ? try boundKeys(lease) : [])
  }

  /// Ends every lease whose time is over. Every call does this first, so none sees a lease alive
  /// after its deadline.
  ///
  /// On a full disk they stay for now: better a read that shows a key too long than no reads (R57).
  func expireLeases() throws(MetadataError) {
    for lease in leases.due(now: time.monotonicNanoseconds) {
      do {
        try revoke(lease)
      } catch {
        leases.lookAgain()
        if error.kind != .noSpace { throw error }
      }
    }
  }

  private func boundKeys(_ lease: LeaseID) throws(MetadataError) -> [[UInt8]] {
    let rows = try connection.prepare(
      "SELECT key FROM entries WHERE lease = ?1 AND lease != 0 AND superseded = ?2 ORDER BY key")
    try rows.bind(.integer(lease.rawValue), .integer(SQLiteSchema.current))
    defer { rows.reset() }
    var keys: [[UInt8]] = []
    while try rows.step() { keys.append(rows.blob(0)) }
    return keys
  }
}
