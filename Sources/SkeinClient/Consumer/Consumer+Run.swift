import SkeinCore
import Synchronization

/// Handlers side by side, with order where it matters.
extension Consumer {
  /// Calls `handler` for every record, up to `concurrency` at a time, until the consumer is closed or the task is
  /// cancelled; then, and when a handler throws, it waits for the handlers, and leaves the group.
  ///
  /// A record is processed when its handler has returned. With `.partition` the records of a partition come one after
  /// another. With `.key` those of a key do, and others of its partition overtake them: a commit covers what is done without
  /// a gap, and what was done beyond it is repeated after a crash or when the partition moves.
  /// - Parameter concurrency: 1 to 1,024 handlers.
  /// - Throws: what a handler threw first (its record is not processed, and comes again), or the consumer's failure.
  public func run(
    concurrency: Int = 8, ordering: ConsumerOrdering = .partition,
    _ handler: @escaping @Sendable (ConsumedRecord) async throws -> Void
  ) async throws {
    guard (1...1024).contains(concurrency) else {
      throw SkeinError(.invalidRequest, "concurrency must be 1 to 1024, is \(concurrency)")
    }
    let run = HandlerRun(core)
    switch ordering {
    case .partition:
      await withTaskGroup(of: Void.self) { group in
        for _ in 0..<concurrency { group.addTask { await self.work(run, handler) } }
      }
    case .key:
      let lanes = KeyLanes(count: concurrency)
      await withTaskGroup(of: Void.self) { group in
        for lane in 0..<concurrency { group.addTask { await self.work(run, lanes, lane, handler) } }
        await self.dispatch(run, lanes)
        lanes.finish()
      }
    }
    await close()
    if let error = run.failure { throw error }
  }

  /// A worker of `.partition`: takes a partition's chunk, and its records one by one.
  private func work(
    _ run: HandlerRun, _ handler: @Sendable (ConsumedRecord) async throws -> Void
  ) async {
    let cursor = LoopCursor(self, isLoop: false)
    do {
      while !run.isOver, let record = try await cursor.record(unless: run) { try await handler(record) }
    } catch { run.end(error) }
  }

  /// Spreads records over the lanes of their keys.
  private func dispatch(_ run: HandlerRun, _ lanes: KeyLanes) async {
    do {
      while !run.isOver, !Task.isCancelled {
        switch core.take(isLoop: false) {
        case .chunk(let lease, let chunk): try await dispatch(lease, chunk, run, lanes)
        case .failure(let error): throw error
        case .end: return
        case .nothing: await core.wait()
        }
      }
    } catch { run.end(error) }
  }

  private func dispatch(
    _ lease: ConsumerLease, _ chunk: ReceivedChunk, _ run: HandlerRun, _ lanes: KeyLanes
  ) async throws {
    var position = 0
    var isWhole = true
    do {
      chunk: while let found = chunk.batch(at: position) {
        let (range, header) = try found.get()
        position = range.upperBound
        guard header.nextOffset > chunk.visible.lowerBound, !header.isControl else { continue }
        let batch = try chunk.checked(
          chunk.bytes.slice(range), header, scratch, metrics(chunk.topic))
        for record in try batch.records() {
          let ticket = core.change {
            $0.dispatch(lease, offset: record.offset, epoch: header.leaderEpoch, now: $1)
          }
          guard let ticket, !run.isOver, await lanes.push(record, ticket) else {
            if let ticket { core.apply { $0.ended(ticket, isDone: false, now: $1) } }
            isWhole = false
            break chunk
          }
        }
      }
    } catch {
      core.apply { $0.finish(lease, upTo: nil, now: $1) }
      throw error
    }
    let end = ReadPosition(offset: chunk.nextOffset, leaderEpoch: chunk.leaderEpoch)
    core.apply { machine, now in
      if isWhole {
        machine.dispatched(lease, upTo: end, now: now)
      } else {
        machine.finish(lease, upTo: nil, now: now)
      }
    }
  }

  /// A worker of `.key`: the records of its lane, one by one.
  private func work(
    _ run: HandlerRun, _ lanes: KeyLanes, _ lane: Int,
    _ handler: @Sendable (ConsumedRecord) async throws -> Void
  ) async {
    while let (record, ticket) = await lanes.next(lane) {
      var isDone = false
      if !run.isOver, core.change({ $0.mayBegin(ticket, now: $1) }) {
        do {
          try await handler(record)
          isDone = true
        } catch { run.end(error) }
      }
      core.apply { [isDone] in $0.ended(ticket, isDone: isDone, now: $1) }
    }
  }
}

/// One `run`: whether it goes on, and why not. Any thread.
final class HandlerRun: Sendable {
  private struct State {
    var isOver = false
    var failure: (any Error)?
  }

  private let core: ConsumerCore
  private let state = Mutex(State())

  init(_ core: ConsumerCore) { self.core = core }

  var isOver: Bool { state.withLock { $0.isOver } }
  var failure: (any Error)? { state.withLock { $0.failure } }

  /// The first error counts; everybody else stops after what they are at.
  func end(_ error: any Error) {
    state.withLock { state in
      if !state.isOver { state.failure = error }
      state.isOver = true
    }
    core.wakeAll()
  }
}
