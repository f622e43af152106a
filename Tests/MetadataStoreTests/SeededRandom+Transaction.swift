import MetadataStore
import Simulation

extension SeededRandom {
  /// A transaction on a handful of keys, now and then one that must be refused.
  func transaction(
    _ named: (String) -> [UInt8], newest: Revision, oldest: Revision
  ) -> Transaction {
    func key() -> [UInt8] { named("abcdef".map { "\($0)" }[below(6)]) }
    func range() -> KeyRange { below(2) == 0 ? .key(key()) : .from(key(), below: key()) }
    func relation() -> Compare.Relation { Compare.Relation.allCases[below(4)] }
    func target() -> Compare.Target {
      switch below(4) {
      case 0: .modRevision(Revision(newest.rawValue - Int64(below(10))))
      case 1: .createRevision(below(2) == 0 ? .zero : newest)
      case 2: .version(Int64(below(4)))
      default: .value([UInt8(below(4))])
      }
    }
    func operation() -> Operation {
      switch below(6) {
      case 0: .delete(range(), previous: below(2) == 0)
      case 1:
        .range(
          RangeRequest(
            range(), limit: below(3),
            revision: below(2) == 0 ? .zero : max(oldest, Revision(newest.rawValue - Int64(below(5)))),
            keysOnly: below(3) == 0))
      default: .put(key: key(), value: [UInt8(below(4))], previous: below(2) == 0)
      }
    }
    return Transaction(
      if: (0..<below(3)).map { _ in Compare(key(), relation(), target()) },
      then: (0..<below(4)).map { _ in operation() }, else: (0..<below(3)).map { _ in operation() })
  }
}
