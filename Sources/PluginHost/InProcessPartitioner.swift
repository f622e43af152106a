import CSkeinShims
import NIOCore
import PluginABI
import PluginPackage
import SkeinCore
import Synchronization

/// A partitioner in the broker itself, where the operator granted it: called in the thread that asks.
final class InProcessPartitioner: PartitionerInstance, @unchecked Sendable {
  // Safe between threads: immutable, but for the counts and the pool under their mutexes.
  let reference: PluginReference
  private let instance: LoadedInstance
  private let crumb: UInt32
  private let record: PluginRecord
  private let supervisor: Supervisor
  private let usedBy: String
  private let own = Mutex(InstanceCounts())
  private let pool = Mutex<[ScratchBox]>([])

  /// Whoever took it from the pool, under its mutex, has it alone.
  private final class ScratchBox: @unchecked Sendable {
    var scratch = PlacementScratch()
  }

  init(
    _ instance: LoadedInstance, crumb: UInt32, record: PluginRecord, supervisor: Supervisor, usedBy: String
  ) {
    self.instance = instance
    self.crumb = crumb
    self.record = record
    self.supervisor = supervisor
    self.usedBy = usedBy
    reference = record.reference
  }

  /// `destroy` may block: not on whichever thread had the last reference.
  deinit {
    let crumb = crumb
    supervisor.run { [instance, record] in
      skein_crumbs_set(crumb, 0, 0, PluginClock.now)
      instance.destroy()
      skein_crumbs_clear()
      record.change { $0.status.instances -= 1 }
    }
  }

  var counts: InstanceCounts { own.withLock { $0 } }

  func place(
    _ batch: PlacementBatch, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[Int32], Fault>) -> Void
  ) {
    let result = placeNow(batch)
    if loop.inEventLoop { return answer(result) }
    loop.execute { answer(result) }
  }

  /// In the calling thread.
  func placeNow(_ batch: PlacementBatch) -> Result<[Int32], Fault> {
    if let why = record.quarantined { return .failure(CallFailure.quarantine(reference, why)) }
    let box = pool.withLock { $0.popLast() } ?? ScratchBox()
    defer { pool.withLock { $0.append(box) } }
    var answers: [Int32] = []
    var wrong = 0
    let started = PluginClock.now
    let done = batch.withColumns { columns -> Bool in
      guard columns.isConsistent else { return false }
      skein_crumbs_set(crumb, columns.topicHigh, columns.topicLow, started)
      defer { skein_crumbs_clear() }
      return box.scratch.place(columns, on: instance) { (out) -> Void in
        wrong = PlacementColumns.outOfRange(UnsafeBufferPointer(out), partitions: Int(batch.partitions))
        if wrong == 0 { answers = Array(out) }
      } != nil
    }
    guard done else { return .failure(batch.refusal) }
    count(batch.count, since: started, isWrong: wrong > 0)
    guard wrong == 0 else {
      let why = "\(wrong) of \(batch.count) answers lie outside 0..<\(batch.partitions)"
      record.fault(.outOfRange, why, usedBy: usedBy)
      return .failure(CallFailure.fault(.outOfRange, why).partitionerFault(reference))
    }
    return .success(answers)
  }

  private func count(_ records: Int, since started: Int64, isWrong: Bool) {
    var calls = InstanceCounts()
    calls.calls = 1
    calls.records = isWrong ? 0 : UInt64(records)
    calls.faults = isWrong ? 1 : 0
    calls.outOfRange = isWrong ? 1 : 0
    calls.nanoseconds = UInt64(max(0, PluginClock.now - started))
    own.withLock { own in
      own.calls &+= calls.calls
      own.records &+= calls.records
      own.faults &+= calls.faults
      own.outOfRange &+= calls.outOfRange
      own.nanoseconds &+= calls.nanoseconds
    }
    record.count(calls)
  }
}
