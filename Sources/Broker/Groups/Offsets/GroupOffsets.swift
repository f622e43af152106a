import GroupCoordination
import Logging
import NIOCore
import OffsetStorage
import SkeinCore
import Wire

/// Where a group's committed offsets are: every commit, fetch, reset and deletion goes through here, to the coordinator
/// (`log`) or, after the coordinator has judged it (G15), to another store.
///
/// Threading: any thread; answers come on the loop that was named.
final class GroupOffsets: Sendable {
  /// The store in which groups keep their offsets unless another is chosen: `__groups` itself.
  static let log = "log"

  let groups: GroupDirectory
  let choices: StoreChoices
  let stores: OffsetStores
  let lanes: CommitLanes
  let time: any TimeSource
  let logger: Logger
  /// What waits for a store, off the event loops.
  let work = AdminQueue()
  /// For tests: called before each step of a move.
  let moveHook: MoveHook?

  init(
    groups: GroupDirectory, choices: StoreChoices, stores: OffsetStores, time: any TimeSource, logger: Logger,
    moveHook: MoveHook? = nil
  ) {
    self.groups = groups
    self.choices = choices
    self.stores = stores
    self.time = time
    self.logger = logger
    self.moveHook = moveHook
    lanes = CommitLanes(stores: stores, time: time)
  }

  /// Tries stores again that went down, and does what waits for them, until `finish`.
  func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask { [stores] in await stores.run() }
      await work.run()
      await stores.close()
      // A store that is being tried again waits for nothing any more.
      group.cancelAll()
    }
  }

  /// Nothing new is taken; what waits for a store is refused. `run` ends.
  func close() async {
    work.finish()
    await stores.close()
  }

  // MARK: Commit

  /// One result an offset, in order; nil = committed. Offsets were checked against the log (`GroupsCheck`).
  ///
  /// Errors of all besides the coordinator's: `OFFSETS_MOVING`, `OFFSET_STORE_UNAVAILABLE` (whether it was stored is not
  /// known; it is repeated).
  func commit(
    _ request: GroupCoordination.CommitRequest, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[Fault?], Fault>) -> Void
  ) {
    let key = request.group
    let route: StoreChoices.Route
    do throws(Fault) {
      route = try choices.enter(key)
    } catch {
      return Self.give(.failure(error), on: loop, answer)
    }
    if case .log = route {
      return groups.ask(.commit(request), of: key, on: loop) { [choices] result in
        choices.leave(key)
        answer(Self.committed(result))
      }
    }
    let lane = CommitLanes.Key(group: key, member: request.member?.id ?? "")
    let end: @Sendable (Result<[Fault?], Fault>) -> Void = { [choices] result in
      choices.leave(key)
      Self.give(result, on: loop, answer)
    }
    guard case .store(let name) = route else { return commitFirst(request, route, lane, on: loop, end) }
    commit(request, to: name, lane, on: loop, end)
  }

  /// To another store, by way of the coordinator's judgement.
  private func commit(
    _ request: GroupCoordination.CommitRequest, to name: String, _ lane: CommitLanes.Key,
    on loop: any EventLoop,
    _ end: @escaping @Sendable (Result<[Fault?], Fault>) -> Void
  ) {
    groups.ask(.checkCommit(request), of: request.group, on: loop) { [self] result in
      switch Self.committed(result) {
      case .failure(let fault): end(.failure(fault))
      case .success(let judged):
        guard judged.contains(where: { $0 == nil }) else { return end(.success(judged)) }
        lanes.add(
          CommitLanes.Commit(
            lane: lane, store: name, memberEpoch: request.member?.epoch ?? 0, offsets: request.offsets,
            judged: judged, end: end), work)
      }
    }
  }

  /// Of a group without a record, whose tenant begins in another store than `log`.
  private func commitFirst(
    _ request: GroupCoordination.CommitRequest, _ route: StoreChoices.Route, _ lane: CommitLanes.Key,
    on loop: any EventLoop, _ end: @escaping @Sendable (Result<[Fault?], Fault>) -> Void
  ) {
    do throws(Fault) {
      try work.submit { [self] in
        do throws(Fault) {
          let name = try await decide(request.group, route)
          guard name == Self.log else { return commit(request, to: name, lane, on: loop, end) }
          groups.ask(.commit(request), of: request.group, on: loop) { end(Self.committed($0)) }
        } catch {
          end(.failure(error))
        }
      }
    } catch {
      end(.failure(error))
    }
  }

  /// The store of a group; one that has none yet gets its record, that of `log` if it has offsets there.
  func decide(_ key: GroupKey, _ route: StoreChoices.Route) async throws(Fault) -> String {
    switch route {
    case .log: return Self.log
    case .store(let name): return name
    case .undecided(let name):
      let known = try await inLog(key)
      return try await choices.decide(key, known.isEmpty ? name : Self.log)
    }
  }

  /// Why a join is refused now (`OFFSETS_MOVING`); nil: it is not.
  func refusal(of key: GroupKey) -> Fault? { choices.refusal(of: key) }

  // MARK: Fetch

  func fetch(
    _ request: GroupCoordination.FetchOffsetsRequest, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[TopicPartition: CommittedOffset], Fault>) -> Void
  ) {
    let route = choices.route(of: request.group)
    if case .log = route {
      return groups.ask(.fetchOffsets(request), of: request.group, on: loop) { answer(Self.offsets($0)) }
    }
    do throws(Fault) {
      try work.submit { [self] in
        let result: Result<[TopicPartition: CommittedOffset], Fault>
        do throws(Fault) {
          result = .success(try await fetch(request, route))
        } catch {
          result = .failure(error)
        }
        Self.give(result, on: loop, answer)
      }
    } catch {
      Self.give(.failure(error), on: loop, answer)
    }
  }

  func fetch(
    _ request: GroupCoordination.FetchOffsetsRequest, _ route: StoreChoices.Route
  ) async throws(Fault) -> [TopicPartition: CommittedOffset] {
    guard case .store(let name) = route else {
      return try Self.offsets(await ask(.fetchOffsets(request), request.group)).get()
    }
    if request.member != nil {
      // Whether it is one, and of that epoch (G17).
      let check = GroupCoordination.FetchOffsetsRequest(
        group: request.group, member: request.member, partitions: [])
      _ = try await groups.ask(.fetchOffsets(check), of: request.group)
    }
    let found = try await stores.store(name).fetch(request.group, request.partitions)
    return Dictionary(found.map { ($0.partition, $0.committed) }, uniquingKeysWith: { _, last in last })
  }

  /// What `__groups` itself has of the group; nothing if it does not know it.
  func inLog(_ key: GroupKey) async throws(Fault) -> [TopicPartition: CommittedOffset] {
    do throws(Fault) {
      let request = GroupCoordination.FetchOffsetsRequest(group: key)
      return try Self.offsets(await ask(.fetchOffsets(request), key)).get()
    } catch {
      guard error.reason == .groupNotFound else { throw error }
      return [:]
    }
  }

  // MARK: Facts

  /// As the operator knows it.
  /// - Parameter inLog: how many offsets `__groups` has of it. A group without a record, of a tenant that begins
  ///   elsewhere now, stays in `log` if it has any, though it is written down with its next commit only.
  func storeName(of key: GroupKey, inLog: Int) -> String {
    switch choices.route(of: key) {
    case .log: Self.log
    case .store(let name): name
    case .undecided(let name): inLog > 0 ? Self.log : name
    }
  }

  /// Groups with a record: those that keep their offsets elsewhere than in `log`, whether their coordinator knows them or
  /// not.
  func recorded(in tenant: String) -> [GroupKey] {
    choices.groups.filter { $0.key.tenant == tenant && $0.record.store != Self.log }.map(\.key)
  }

  func isRecorded(_ key: GroupKey) -> Bool { (choices.choice(of: key)?.record.store ?? Self.log) != Self.log }

  /// False while the group's store does not answer.
  func isAvailable(_ key: GroupKey) -> Bool {
    guard case .store(let name) = choices.route(of: key) else { return true }
    return (try? stores.store(name).isAvailable) ?? false
  }

  // MARK: Helpers

  func ask(_ request: GroupRequest, _ key: GroupKey) async -> Result<GroupReply, Fault> {
    do throws(Fault) {
      return .success(try await groups.ask(request, of: key))
    } catch {
      return .failure(error)
    }
  }

  private static func give<R: Sendable>(
    _ result: Result<R, Fault>, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<R, Fault>) -> Void
  ) {
    if loop.inEventLoop { answer(result) } else { loop.execute { answer(result) } }
  }

  static func committed(_ result: Result<GroupReply, Fault>) -> Result<[Fault?], Fault> {
    result.flatMap {
      if case .committed(let results) = $0 { .success(results) } else { .failure(unexpected) }
    }
  }

  static func offsets(
    _ result: Result<GroupReply, Fault>
  ) -> Result<[TopicPartition: CommittedOffset], Fault> {
    result.flatMap { if case .offsets(let found) = $0 { .success(found) } else { .failure(unexpected) } }
  }

  static let unexpected = Fault(
    .internalError, "the group coordinator gave another answer than was asked for")
}
