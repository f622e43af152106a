/// What all members' logs say together, so far.
struct GroupView {
  /// A record's work, done.
  struct Delivery {
    let at: Int64
    let member: Int
    let offset: Int64
    let sequence: Int64
    let produced: Int64
  }

  /// By partition, as read: a member's in order, those of several members mixed.
  private(set) var deliveries: [[Delivery]]

  init(partitions: Int) { deliveries = Array(repeating: [], count: partitions) }

  mutating func take(_ event: MemberEvent, of member: Int) {
    guard case .processed(let partition, let offset, let sequence, let produced) = event.kind,
      deliveries.indices.contains(partition)
    else { return }
    deliveries[partition].append(
      Delivery(at: event.at, member: member, offset: offset, sequence: sequence, produced: produced))
  }

  /// When the last partition was consumed again, by one of `members`: the first record of each that was produced after
  /// `moment`. nil: not all yet.
  func consumedAgain(since moment: Int64, by isMember: (Int) -> Bool) -> Int64? {
    var last = moment
    for partition in deliveries.indices {
      guard let first = first(in: partition, since: moment, by: isMember) else { return nil }
      last = max(last, first)
    }
    return last
  }

  func first(in partition: Int, since moment: Int64, by isMember: (Int) -> Bool) -> Int64? {
    var first: Int64?
    for delivery in deliveries[partition].reversed() {
      // What was read long before cannot have been produced after; members' lines are mixed by a poll's length at most.
      if delivery.at < moment - 1_000_000_000 { break }
      if delivery.produced >= moment, isMember(delivery.member) { first = min(first ?? .max, delivery.at) }
    }
    return first
  }

  /// Gaps between deliveries in `window`, of partitions that one member had all the time; nanoseconds, sorted. A record
  /// comes when it is durable: what the producer was late by, and what a slow disk held back (as its acknowledgements show),
  /// is taken off, for it is not the group's doing.
  /// - Parameters:
  ///   - acknowledged: when each record was, by partition and sequence number.
  ///   - period: between two records of a partition.
  func gaps(
    in window: ClosedRange<Int64>, excluding: Set<Int>, acknowledged: [[Int64: Int64]], period: Int64
  ) -> (partitions: Int, gaps: [Int64]) {
    var gaps: [Int64] = []
    var count = 0
    for (partition, all) in deliveries.enumerated() {
      // A second before it, to see who had it.
      let around = all.filter { $0.at >= window.lowerBound - 1_000_000_000 && $0.at <= window.upperBound }
        .sorted { $0.at < $1.at }
      guard let owner = around.first?.member, !excluding.contains(owner),
        around.allSatisfy({ $0.member == owner })
      else { continue }
      count += 1
      for (before, after) in zip(around, around.dropFirst()) where after.at >= window.lowerBound {
        let times = acknowledged[partition]
        let late =
          times[after.sequence].flatMap { end in times[before.sequence].map { end - $0 - period } } ?? 0
        gaps.append(max(0, after.at - before.at - max(0, late)))
      }
    }
    return (count, gaps.sorted())
  }
}

extension [Int64] {
  /// Of sorted values; 0 without any.
  func quantile(_ share: Double) -> Int64 {
    isEmpty ? 0 : self[Swift.min(count - 1, Int(Double(count) * share))]
  }
}
