import SkeinClient
import SkeinCore
import Synchronization

/// What was acknowledged, by partition. Any thread.
final class DeliveryCounts: Sendable {
  struct Partition {
    var records: Int64 = 0
    /// Nil where only duplicates without a known offset were answered.
    var first: Int64?
    var last: Int64?
  }

  struct Totals {
    var records: Int64 = 0
    var failed: Int64 = 0
    var partitions: [Int32: Partition] = [:]
  }

  private let state = Mutex(Totals())
  var totals: Totals { state.withLock { $0 } }

  func add(_ delivery: BatchDelivery) {
    let count = Int64(delivery.recordCount)
    state.withLock { totals in
      guard case .success(let answer) = delivery.result else {
        totals.failed += count
        return
      }
      totals.records += count
      var partition = totals.partitions[delivery.partition] ?? Partition()
      partition.records += count
      if let base = answer.baseOffset {
        partition.first = min(partition.first ?? base, base)
        partition.last = max(partition.last ?? base, base + count - 1)
      }
      totals.partitions[delivery.partition] = partition
    }
  }
}
