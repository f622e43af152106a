import ArgumentParser
import SkeinClient
import SkeinCore
import Synchronization

/// `consume --group`: printed as a member of a group, committed when it was printed.
struct GroupConsumption {
  enum Commit: String, ExpressibleByArgument, CaseIterable { case auto, none }

  let group: String
  let topic: String
  let start: GroupStart
  let commit: Commit
  let max: Int?
  let follow: Bool
  let formatter: RecordFormatter

  /// Cancelled, it finishes the line, commits and leaves the group.
  func run(_ client: Client) async throws {
    // A member waits for a topic that is not there yet; a name that is mistyped would be waited for without a word.
    let ends = try await nilIf(follow ? .topicNotFound : nil) {
      try await client.admin.listOffsets(topic, at: .end)
    }
    if ends == nil { Console.note("skein: there is no topic \(topic.displayable) yet; it is waited for") }
    let catchingUp = follow ? nil : CatchingUp(group: group, topic: topic, start: start, admin: client.admin)
    var configuration = ConsumerConfiguration()
    configuration.start = start
    configuration.clientID = "skein consume"
    if commit == .none { configuration.commitInterval = nil }
    if let catchingUp {
      configuration.rebalance = RebalanceHandlers(
        assigned: { await catchingUp.assigned($0) }, revoked: { catchingUp.gone($0) },
        lost: { catchingUp.gone($0) })
    }
    let consumer = try await client.consumer(group: group, topics: [topic], configuration)
    do {
      if let catchingUp {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
          tasks.addTask { try await printAll(consumer, catchingUp) }
          tasks.addTask { await catchingUp.done() }
          try await tasks.next()
          // A loop that is cancelled counts what it has in hand as processed, and leaves.
          tasks.cancelAll()
          try await tasks.waitForAll()
        }
        try catchingUp.check()
      } else {
        try await printAll(consumer, nil)
      }
    } catch {
      await consumer.close()
      throw error
    }
    await consumer.close()
  }

  private func printAll(_ consumer: Consumer, _ catchingUp: CatchingUp?) async throws {
    var output = OutputBuffer()
    var left = max ?? .max
    var progress = Progress(total: max, isShown: !Console.isOutputTerminal)
    defer { progress.finish() }
    var count = 0
    for try await batch in consumer.batches {
      var next = ReadPosition(offset: batch.nextOffset, leaderEpoch: batch.leaderEpoch)
      try batch.forEachRecord { record in
        guard left > 0 else { return }
        left -= 1
        count += 1
        try formatter.write(record, of: batch, to: &output)
        if left == 0 { next.offset = record.offset + 1 }
      }
      // On the output before it counts as processed.
      try output.flush()
      progress.update(count)
      catchingUp?.reached(batch.source, next.offset)
      if left == 0 {
        // The batch in hand would be committed whole or not at all.
        if commit == .auto { try await consumer.commit([batch.source: next]) }
        return
      }
    }
  }
}

/// Whether a member has read what was there when it got its partitions. Any thread.
final class CatchingUp: Sendable {
  private struct State {
    var ends: [ConsumedPartition: Int64] = [:]
    var isAssigned = false
    var failure: SkeinError?
    var waiter: CheckedContinuation<Void, Never>?
    var isOver = false
  }

  private let group: String
  private let topic: String
  private let start: GroupStart
  private let admin: Admin
  private let state = Mutex(State())

  init(group: String, topic: String, start: GroupStart, admin: Admin) {
    self.group = group
    self.topic = topic
    self.start = start
    self.admin = admin
  }

  /// Their records come when this has returned.
  func assigned(_ partitions: [ConsumedPartition]) async {
    do throws(SkeinError) {
      let numbers = partitions.map(\.partition)
      let ends = try await admin.listOffsets(topic, partitions: numbers, at: .end)
      let starts = try await admin.listOffsets(topic, partitions: numbers, at: .beginning)
      let committed = try await committed(numbers)
      update { state in
        for end in ends where end.error == nil {
          let first = starts.first { $0.partition == end.partition }?.offset ?? 0
          let begin = committed[end.partition] ?? (start == .latest ? end.offset : first)
          if begin < end.offset { state.ends[ConsumedPartition(topic, end.partition)] = end.offset }
        }
        state.isAssigned = true
      }
    } catch {
      update { $0.failure = error }
    }
  }

  /// A group whose first member this is has nothing yet.
  private func committed(_ numbers: [Int32]) async throws(SkeinError) -> [Int32: Int64] {
    do throws(SkeinError) {
      let found = try await admin.fetchOffsets(
        group: group, [TopicPartitionList(topic: topic, partitions: numbers)])
      return Dictionary(found.map { ($0.partition, $0.offset) }, uniquingKeysWith: { $1 })
    } catch {
      guard error.reason == Reason.groupNotFound.name else { throw error }
      return [:]
    }
  }

  func gone(_ partitions: [ConsumedPartition]) {
    update { state in for partition in partitions { state.ends[partition] = nil } }
  }

  func reached(_ partition: ConsumedPartition, _ offset: Int64) {
    update { state in
      if let end = state.ends[partition], offset >= end { state.ends[partition] = nil }
    }
  }

  /// Returns when nothing is left, or the task is cancelled.
  func done() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { waiter in
        update { $0.waiter = waiter }
      }
    } onCancel: {
      update { $0.isOver = true }
    }
  }

  /// - Throws: why it could not find out where the partitions end.
  func check() throws { if let failure = state.withLock({ $0.failure }) { throw failure } }

  private func update(_ change: (inout State) -> Void) {
    let waiter = state.withLock { state in
      change(&state)
      guard state.isOver || state.failure != nil || (state.isAssigned && state.ends.isEmpty) else {
        return nil as CheckedContinuation<Void, Never>?
      }
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }
}
