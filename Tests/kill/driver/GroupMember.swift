import ArgumentParser
import Foundation
import SkeinClient
import Synchronization

/// A member of the group: takes records, "works" on them by writing them to its log, commits, and says in that log
/// what it was given and what was taken from it. Ends with SIGTERM, in order.
struct GroupMember: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "member", abstract: "One member of `group`, as a process of its own.", shouldDisplay: false)

  @Option var address: String
  @Option var tls: String
  @Option var topic: String
  @Option var group: String
  @Option var log: String
  @Option var name: String
  @Option(help: "Milliseconds between two commits.") var commitEvery = 100
  @Option(help: "Milliseconds of work a record.") var workMs = 0
  @Option(help: "Its processing deadline, in milliseconds; 0: the default.") var processingMs = 0
  @Flag(help: "Ask for more time while at work.") var extend = false
  @Flag(help: "Commit before the work: records are lost when it is killed.") var commitFirst = false

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    let task = Task { try await work() }
    signal(SIGTERM, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: SIGTERM, queue: .global())
    source.setEventHandler { task.cancel() }
    source.resume()
    defer { source.cancel() }
    // Nobody is left who would stop it.
    let parent = getppid()
    let orphan = Task {
      while getppid() == parent { try await Task.sleep(for: .seconds(1)) }
      Foundation.exit(3)
    }
    defer { orphan.cancel() }
    try await task.value
  }

  private func work() async throws {
    let log = try MemberLog(log)
    let desk = Desk(log)
    log.write(.joining)
    let client = try Client(clientConfiguration(address, tls: tls))
    var configuration = ConsumerConfiguration()
    configuration.commitInterval = nil
    configuration.clientID = name
    if processingMs > 0 { configuration.processingDeadline = .milliseconds(processingMs) }
    configuration.rebalance = RebalanceHandlers(
      assigned: { log.write(.assigned($0.map { Int($0.partition) })) },
      revoked: { partitions in
        // The last word on them: the work is done, the next owner begins behind it.
        await desk.commit(only: partitions)
        desk.drop(partitions)
        log.write(.revoked(partitions.map { Int($0.partition) }))
      },
      lost: { partitions in
        desk.drop(partitions)
        log.write(.lost(partitions.map { Int($0.partition) }))
      })
    let consumer = try await client.consumer(group: group, topics: [topic], configuration)
    desk.consumer = consumer
    let committing = Task {
      while !Task.isCancelled {
        try await Task.sleep(for: .milliseconds(commitEvery))
        await desk.commit()
      }
    }
    while !Task.isCancelled {
      do {
        for try await batch in consumer.batches { try await handle(batch, consumer, desk, log) }
        break
      } catch let error as SkeinError {
        if Task.isCancelled { break }
        log.write(.failed(reason: error.reason))
        // What ends the sequence for good is thrown once; then it ends by itself.
        try await Task.sleep(for: .milliseconds(20))
      }
    }
    committing.cancel()
    await consumer.close()
    desk.consumer = nil
    log.write(desk.later([]))
    await client.close()
    log.write(.ended)
  }

  private func handle(_ batch: RecordBatch, _ consumer: Consumer, _ desk: Desk, _ log: MemberLog) async throws
  {
    let next = ReadPosition(offset: batch.nextOffset, leaderEpoch: batch.leaderEpoch)
    if commitFirst {
      desk.done(batch.source, next)
      await desk.commit()
    }
    var events: [MemberEvent] = []
    for record in try batch.records() {
      await labour(consumer)
      guard let (sequence, produced) = GroupLoad.parse(record.value ?? []) else {
        throw TrialFailure(
          "offset \(record.offset) of partition \(batch.partition) is not what the load sent")
      }
      events.append(
        MemberEvent(
          .processed(
            partition: Int(batch.partition), offset: record.offset, sequence: sequence, produced: produced)))
    }
    if commitFirst {
      // The work on what is committed is always one batch behind.
      log.write(desk.later(events))
    } else {
      // On the file before it counts as processed.
      log.write(events)
      desk.done(batch.source, next)
    }
  }

  /// A cancelled member finishes what it is at, too.
  private func labour(_ consumer: Consumer) async {
    let end = monotonicNanoseconds() + Int64(workMs) * 1_000_000
    while monotonicNanoseconds() < end {
      usleep(useconds_t(min(100, workMs)) * 1000)
      if extend { consumer.extend() }
    }
  }
}

/// What is done and not yet committed. Any thread.
private final class Desk: Sendable {
  private struct State {
    var positions: [ConsumedPartition: ReadPosition] = [:]
    var committed: [ConsumedPartition: Int64] = [:]
    var consumer: Consumer?
    var postponed: [MemberEvent] = []
  }

  private let state = Mutex(State())
  private let log: MemberLog

  init(_ log: MemberLog) { self.log = log }

  var consumer: Consumer? {
    get { state.withLock { $0.consumer } }
    set { state.withLock { $0.consumer = newValue } }
  }

  func done(_ partition: ConsumedPartition, _ position: ReadPosition) {
    state.withLock { $0.positions[partition] = position }
  }

  /// Takes the work of a batch, and gives back that of the batch before.
  func later(_ events: [MemberEvent]) -> [MemberEvent] {
    state.withLock { state in
      defer { state.postponed = events }
      return state.postponed
    }
  }

  func drop(_ partitions: [ConsumedPartition]) {
    state.withLock { state in
      for partition in partitions {
        state.positions[partition] = nil
        state.committed[partition] = nil
      }
    }
  }

  /// Commits what is done, partition by partition in one call; what the broker acknowledged goes to the log.
  func commit(only partitions: [ConsumedPartition]? = nil) async {
    let (consumer, due) = state.withLock { state in
      let due = state.positions.filter { partition, position in
        (partitions?.contains(partition) ?? true) && position.offset > state.committed[partition] ?? -1
      }
      return (state.consumer, due)
    }
    guard let consumer, !due.isEmpty else { return }
    do {
      try await consumer.commit(due)
    } catch {
      log.write(.refused(partition: -1, reason: error.reason))
      return
    }
    var events: [MemberEvent] = []
    state.withLock { state in
      for (partition, position) in due {
        state.committed[partition] = max(state.committed[partition] ?? -1, position.offset)
        events.append(MemberEvent(.committed(partition: Int(partition.partition), offset: position.offset)))
      }
    }
    log.write(events)
  }
}
