import CommitLog
import NIOCore
import NIOPosix
import RecordFormat
import SkeinCore

/// The partitions of one event loop: their single serial executor (style habit 14).
///
/// Every method runs on `loop` unless it says otherwise. `@unchecked Sendable`: all state is
/// confined to `loop`.
final class PartitionShard: @unchecked Sendable {
  let loop: any EventLoop
  private let directory: LogDirectory
  private let time: any TimeSource
  private let ioPool: NIOThreadPool
  /// Pays for what cold reads hold.
  private let budget: MemoryBudget
  private let notifyFlusher: @Sendable () -> Void
  private var hosts: [TopicPartition: PartitionHost] = [:]
  private var outbox = ShardOutbox()

  init(
    loop: any EventLoop, directory: LogDirectory, time: any TimeSource, ioPool: NIOThreadPool,
    budget: MemoryBudget, notifyFlusher: @escaping @Sendable () -> Void
  ) {
    self.loop = loop
    self.directory = directory
    self.time = time
    self.ioPool = ioPool
    self.budget = budget
    self.notifyFlusher = notifyFlusher
  }

  // MARK: Membership

  func add(_ log: PartitionLog) {
    if hosts[log.key] == nil { hosts[log.key] = PartitionHost(log: log) }
  }

  /// Stops serving the partitions of a deleted topic; whoever waits is told that it is gone.
  func remove(topic: TopicID, partitions: Int32, fault: Fault) {
    for partition in 0..<partitions {
      let key = TopicPartition(topic: topic, partition: partition)
      hosts.removeValue(forKey: key)?.failAll(fault, answers: &outbox)
    }
    outbox.flush(on: loop)
  }

  /// Appends are refused until there is more room on the disk (R57). Any thread.
  var isDiskFull: Bool { if case .full = directory.state { true } else { false } }

  func log(_ key: TopicPartition) -> PartitionLog? { hosts[key]?.log }
  func host(_ key: TopicPartition) -> PartitionHost? { hosts[key] }

  /// Nil for a partition that is not served here.
  func facts(_ key: TopicPartition) -> PartitionFacts? {
    hosts[key].map { host in
      PartitionFacts(
        host.log, directory: directory.state,
        traffic: host.trafficTotals(at: time.monotonicNanoseconds))
    }
  }

  /// Applies new settings to the partitions of a topic that live here.
  func setSettings(_ settings: PartitionSettings, topic: TopicID, partitions: Int32) {
    for partition in 0..<partitions {
      let key = TopicPartition(topic: topic, partition: partition)
      hosts[key]?.setSettings(settings, answers: &outbox)
    }
    outbox.flush(on: loop)
  }

  // MARK: Appending

  /// Appends batches of any of this shard's partitions in order, with one submission to the log.
  func append(_ requests: [(TopicPartition, AppendRequest)]) {
    var entries: [PendingEntry] = []
    entries.reserveCapacity(requests.count)
    let now = time.monotonicNanoseconds
    for (key, request) in requests {
      guard let host = hosts[key] else {
        outbox.add(request, .refused(Self.gone(key)), now)
        continue
      }
      guard directory.canAccept(request.batch.count) else {
        outbox.add(request, .refused(Self.overloaded), now)
        continue
      }
      if let entry = host.append(request, at: now, answers: &outbox) { entries.append(entry) }
    }
    if !entries.isEmpty {
      directory.submit(entries)
      notifyFlusher()
    }
    for (key, _) in requests where hosts[key]?.log.highWatermark == hosts[key]?.log.logEnd {
      hosts[key]?.wakeReaders()  // durability=memory: committed already
    }
    outbox.flush(on: loop)
  }

  /// The flusher's news: these partitions are durable up to these ends.
  func advance(_ advances: [DurableAdvance]) {
    for advance in advances {
      hosts[advance.log.key]?.apply(advance, answers: &outbox)
    }
    outbox.flush(on: loop)
  }

  /// The log directory is offline: nothing that waits can be answered with a success any more.
  func failAll(_ fault: Fault) {
    for host in hosts.values { host.failAll(fault, answers: &outbox) }
    outbox.flush(on: loop)
  }

  // MARK: Reading

  /// Reads from memory, or from segments on the I/O pool; `completion` runs on `replyLoop`.
  func read(
    _ key: TopicPartition, from offset: Offset, maxBytes: Int, lastEpoch: LeaderEpoch?,
    replyLoop: any EventLoop,
    completion: @escaping @Sendable (Result<ReadSlice, Fault>) -> Void
  ) {
    guard let host = hosts[key] else {
      return replyLoop.execute { completion(.failure(Self.gone(key))) }
    }
    let log = host.log
    do throws(Fault) {
      let outcome = try log.read(from: offset, maxBytes: maxBytes, lastEpoch: lastEpoch)
      var slice = ReadSlice(
        batches: [], next: offset, highWatermark: log.highWatermark, logStart: log.logStart,
        leaderEpoch: log.leaderEpoch)
      switch outcome {
      case .atEnd:
        break
      case .memory(let batches, let next):
        slice.batches = batches
        slice.next = next
        let now = time.monotonicNanoseconds
        host.traffic(at: now).countOut(slice, from: offset, at: now)
      case .file(let plan):
        let meter = host.traffic(at: time.monotonicNanoseconds)
        readFile(
          plan, slice: slice, from: offset, meter: meter, replyLoop: replyLoop, completion: completion)
        return
      }
      let done = slice
      replyLoop.execute { completion(.success(done)) }
    } catch {
      let fault = error
      replyLoop.execute { completion(.failure(fault)) }
    }
  }

  private func readFile(
    _ plan: FileRead, slice: ReadSlice, from offset: Offset, meter: TrafficMeter,
    replyLoop: any EventLoop, completion: @escaping @Sendable (Result<ReadSlice, Fault>) -> Void
  ) {
    let directory = directory
    let budget = budget
    let time = time
    ioPool.submit { state in
      guard case .active = state else {
        return replyLoop.execute { completion(.failure(Fault(.draining, "the broker is stopping"))) }
      }
      let result: Result<ReadSlice, Fault>
      do throws(Fault) {
        let read = try directory.read(plan, budget: budget)
        var done = slice
        done.batches = read.batches
        done.next = read.next
        meter.countOut(done, from: offset, at: time.monotonicNanoseconds)
        result = .success(done)
      } catch {
        result = .failure(error)
      }
      replyLoop.execute { completion(result) }
    }
  }

  /// See `PartitionHost.wait(past:_:)`.
  func wait(_ key: TopicPartition, past offset: Offset, _ waiter: ReadWaiter) {
    guard let host = hosts[key] else { return waiter.fire() }
    host.wait(past: offset, waiter)
  }

  // MARK: Faults

  static func gone(_ key: TopicPartition) -> Fault {
    Fault(
      .topicNotFound, "the topic of partition \(key.partition) was deleted meanwhile; list the topics")
  }

  static let overloaded = Fault(
    .overloaded,
    "the log's submission queue is full; nothing was appended; retry after 100 ms",
    retryAfterMilliseconds: 100)
}

/// What one read returned: whole batches and where the partition stands.
struct ReadSlice: Sendable {
  var batches: [SharedBytes]
  /// Where to go on.
  var next: Offset
  var highWatermark: Offset
  var logStart: Offset
  var leaderEpoch: LeaderEpoch

  var bytes: Int { batches.reduce(0) { $0 + $1.count } }
}

extension TrafficMeter {
  /// What a reader got: the offsets that it passed stand for records, so that none is counted one by one.
  fileprivate func countOut(_ slice: ReadSlice, from offset: Offset, at now: Int64) {
    countOut(records: max(0, slice.next.rawValue - offset.rawValue), bytes: slice.bytes, at: now)
  }
}
