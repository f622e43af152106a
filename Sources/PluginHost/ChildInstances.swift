import NIOCore
import PluginABI
import PluginPackage
import SkeinCore
import Synchronization

/// What every instance in a child has: it counts its calls, and ends with its last reference. Any thread.
class ChildInstanceHandle: @unchecked Sendable {
  // Safe between threads: immutable, but for the counts under their mutex.
  let child: PluginChild
  let number: UInt32
  let reference: PluginReference
  private let own = Mutex(InstanceCounts())

  init(_ child: PluginChild, _ number: UInt32) {
    self.child = child
    self.number = number
    reference = child.manifest.reference
  }

  deinit { child.release(number) }

  var counts: InstanceCounts { own.withLock { $0 } }

  func count(records: Int, since started: Int64, failure: CallFailure?) {
    var calls = InstanceCounts()
    calls.calls = 1
    calls.nanoseconds = UInt64(max(0, PluginClock.now - started))
    switch failure {
    case nil: calls.records = UInt64(records)
    case .fault(.outOfRange, _):
      calls.faults = 1
      calls.outOfRange = 1
    case .fault: calls.faults = 1
    default:
      // It was not asked, or refused in good order.
      calls.nanoseconds = 0
    }
    own.withLock { own in
      own.calls &+= calls.calls
      own.records &+= calls.records
      own.faults &+= calls.faults
      own.outOfRange &+= calls.outOfRange
      own.nanoseconds &+= calls.nanoseconds
    }
    child.record.count(calls)
  }
}

/// A partitioner in a child. Immutable, as its superclass: any thread.
final class ChildPartitioner: ChildInstanceHandle, PartitionerInstance, @unchecked Sendable {
  func place(
    _ batch: PlacementBatch, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[Int32], Fault>) -> Void
  ) {
    let started = PluginClock.now
    let reply = PlaceAnswer(loop: loop) { [self] result in
      switch result {
      case .success(let partitions):
        count(records: partitions.count, since: started, failure: nil)
        answer(.success(partitions))
      case .failure(let failure):
        count(records: 0, since: started, failure: failure)
        answer(.failure(failure.partitionerFault(reference)))
      }
    }
    let frame = batch.withColumns { columns -> [UInt8]? in
      guard columns.isConsistent, ChildPlace.size(columns) <= ChildFrame.limitToChild - 64 else { return nil }
      return ChildPlace.frame(columns, instance: number, call: 0)
    }
    guard let frame else {
      return reply.fail(batch.refusal, answer)
    }
    child.place(frame, number, partitions: Int(batch.partitions), count: batch.count, reply)
  }
}

extension PlaceAnswer {
  /// The caller's mistake, told on its loop.
  func fail(_ fault: Fault, _ answer: @escaping @Sendable (Result<[Int32], Fault>) -> Void) {
    if loop.inEventLoop { return answer(.failure(fault)) }
    loop.execute { answer(.failure(fault)) }
  }
}

/// An authenticator in a child. Immutable, as its superclass: any thread.
final class ChildAuthenticator: ChildInstanceHandle, AuthenticatorInstance, @unchecked Sendable {
  func step(
    exchange: UInt64, mechanism: String, peer: PeerEvidence, message: [UInt8], deadline: NIODeadline,
    on loop: any EventLoop, _ answer: @escaping @Sendable (Result<[UInt8], Fault>) -> Void
  ) {
    let started = PluginClock.now
    let limit = NIODeadline.now() + .milliseconds(child.configuration.authenticatorDeadlineMilliseconds)
    let until = min(deadline, limit)
    let reply = BytesAnswer(loop: loop) { [self] result in
      switch result {
      case .success(let bytes):
        count(records: 1, since: started, failure: nil)
        answer(.success(bytes))
      case .failure(let failure):
        count(records: 0, since: started, failure: failure)
        answer(.failure(failure.authenticatorFault(reference)))
      }
    }
    let frame = ChildStep.frame(
      instance: number, call: 0, deadline: until.uptimeNanoseconds, exchange: exchange, mechanism: mechanism,
      certificates: peer.certificates, serverName: peer.serverName, address: peer.address,
      exporter: peer.tlsExporter, message: message)
    child.ask(frame, number, deadline: until, reply)
  }

  func end(exchange: UInt64) {
    var writer = FrameWriter(.end, instance: number)
    writer.put(exchange)
    child.tell(writer.finish(), number)
  }
}

/// An offset store in a child. Immutable, as its superclass: any thread.
final class ChildOffsetStore: ChildInstanceHandle, OffsetStoreInstance, @unchecked Sendable {
  func ask(
    _ operation: OffsetStoreOperation, _ request: [UInt8], deadline: NIODeadline, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[UInt8], Fault>) -> Void
  ) {
    let started = PluginClock.now
    let limit = NIODeadline.now() + .milliseconds(child.configuration.offsetStoreDeadlineMilliseconds)
    let until = min(deadline, limit)
    let reply = BytesAnswer(loop: loop) { [self] result in
      switch result {
      case .success(let bytes):
        count(records: 1, since: started, failure: nil)
        answer(.success(bytes))
      case .failure(let failure):
        count(records: 0, since: started, failure: failure)
        answer(.failure(failure.offsetStoreFault(reference)))
      }
    }
    let frame = ChildStep.storeFrame(
      operation.inChild, instance: number, call: 0, deadline: until.uptimeNanoseconds, request: request)
    child.ask(frame, number, deadline: until, reply)
  }
}

extension OffsetStoreOperation {
  fileprivate var inChild: LoadedInstance.StoreOperation {
    switch self {
    case .commit: .commit
    case .fetch: .fetch
    case .scan: .scan
    case .remove: .remove
    }
  }
}
