import GroupCoordination
import Synchronization

/// What one coordinator counts. Threading: any thread.
final class CoordinatorCounts: Sendable {
  /// A number that is set, not added to.
  final class Gauge: Sendable {
    private let bits = Atomic<Int>(0)
    func store(_ value: Int) { bits.store(value, ordering: .relaxed) }
    var value: Int { bits.load(ordering: .relaxed) }
  }

  /// Offsets that were committed, in the order of the log.
  let commits = Counter()
  /// Times that a group's partitions were divided anew.
  let rebalances = Counter()
  /// Members that joined and that went, for whatever reason.
  let joined = Counter()
  let removed = Counter()
  let records = Counter()
  let appends = Counter()
  let failedAppends = Counter()
  let replayed = Counter()
  /// How long the newest reading of the log took.
  let loadMicroseconds = Gauge()

  func count(_ append: GroupAppend) {
    appends.add(1)
    records.add(append.records.count)
    var offsets = 0
    for record in append.records {
      switch record {
      case .offset(_, _, .some): offsets += 1
      case .group(_, .some(let value)) where value.assignmentEpoch == value.epoch: rebalances.add(1)
      case .member(_, _, .none): removed.add(1)
      case .member(_, _, .some): joined.add(1)
      default: break
      }
    }
    if offsets > 0 { commits.add(offsets) }
  }
}
