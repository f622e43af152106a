import GroupCoordination
import OffsetStorage
import SkeinCore
import Wire

/// A step of a move, for tests that end it there.
struct MoveHook: Sendable {
  enum Step: String, Sendable, CaseIterable {
    case beforeRecord, afterRecord, afterClearing, afterCopyOfSome, afterCopy, afterComparing, afterSwitch,
      afterEmptying, afterEnd
  }
  /// Offsets of one commit of the copy.
  var part = OffsetMove.part
  /// Throws to end the move there, as a crash would.
  let at: @Sendable (Step) async throws(Fault) -> Void
}

/// Moves the offsets of one group to another store: copied, read back and compared, switched in one step, then removed
/// from the old one. The group's record says how far it is, so that a crash leaves it where it was, or where it goes:
///
/// | record | where the offsets are | again |
/// |---|---|---|
/// | store A, moving_to B | in A; some of them in B | from the beginning; or back to A |
/// | store B, emptying A | in B; some of them in A | A is emptied |
/// | store B | in B | nothing to do |
///
/// While `moving_to` stands, joins and commits of the group are refused (OFFSETS_MOVING).
struct OffsetMove: Sendable {
  struct Progress: Sendable, Hashable {
    var step: MoveStep
    var from: String
    var to: String
    var done = 0
    var total = 0
  }

  let offsets: GroupOffsets
  let key: GroupKey
  let target: String
  let principal: String
  let tell: @Sendable (Progress) -> Void

  /// Offsets of one commit of the copy.
  static let part = 1_000

  private var choices: StoreChoices { offsets.choices }

  /// - Throws: `OFFSET_STORE_NOT_FOUND`, `GROUP_NOT_FOUND`, `GROUP_HAS_MEMBERS`, `OFFSET_STORE_UNAVAILABLE`, `CONFLICT`.
  func run() async throws(Fault) {
    try offsets.stores.check(target)
    if target != GroupOffsets.log { await offsets.stores.start([target]) }
    try await choices.alone(key, "being moved to \(target)") { () throws(Fault) in
      try await offsets.checkNoMembers(key)
      try await carryOut()
    }
    offsets.lanes.forget(key)
  }

  private func carryOut() async throws(Fault) {
    let route = choices.route(of: key)
    if let record = choices.choice(of: key)?.record {
      if !record.emptying.isEmpty {
        // An earlier move is in its last step.
        try await empty(record.emptying, total: nil)
        if record.store == target { return try await hook(.afterEnd) }
      } else if !record.movingTo.isEmpty {
        return try await goOn(record)
      }
    }
    let from: String
    switch route {
    case .store(let name): from = name
    case .log, .undecided: from = GroupOffsets.log
    }
    guard from != target else {
      if choices.choice(of: key) == nil {
        try await checkExists()
        if case .undecided = route { _ = try await choices.decide(key, target) }
      }
      return tell(Progress(step: .done, from: from, to: target))
    }
    let known = try await read(from)
    if known.isEmpty { try await checkExists() }
    try await hook(.beforeRecord)
    var record = choices.choice(of: key)?.record ?? OffsetStoreRecord()
    record.store = from
    record.movingTo = target
    record.emptying = ""
    try await choices.change(key, from: choices.choice(of: key), to: record, by: principal)
    try await hook(.afterRecord)
    try await copy(from)
  }

  /// A move that a crash or a failure ended before the switch.
  private func goOn(_ record: OffsetStoreRecord) async throws(Fault) {
    if target == record.movingTo { return try await copy(record.store) }
    guard target == record.store else {
      throw Fault(
        .conflict,
        "the offsets of the group \(key.name) are on their way to \(record.movingTo): end that first, or move them back to \(record.store)",
        metadata: ["group": key.name, "from": record.store, "to": record.movingTo])
    }
    // Back: what was copied goes, and the group is where it was.
    try await clear(record.movingTo)
    var back = record
    back.movingTo = ""
    try await choices.change(key, from: choices.choice(of: key), to: back, by: principal)
    tell(Progress(step: .done, from: record.movingTo, to: target))
  }

  private func checkExists() async throws(Fault) {
    guard choices.choice(of: key) == nil else { return }
    // Says GROUP_NOT_FOUND.
    _ = try await offsets.groups.ask(.describe(key), of: key)
  }

  // MARK: Steps

  private func copy(_ from: String) async throws(Fault) {
    let all = try await read(from)
    var progress = Progress(step: .copying, from: from, to: target, total: all.count)
    tell(progress)
    // What an attempt before this one left.
    try await clear(target)
    try await hook(.afterClearing)
    let size = offsets.moveHook?.part ?? Self.part
    for start in stride(from: 0, to: all.count, by: size) {
      let part = Array(all[start..<min(start + size, all.count)])
      try await write(part)
      progress.done = start + part.count
      tell(progress)
      if start == 0 { try await hook(.afterCopyOfSome) }
    }
    try await hook(.afterCopy)
    progress.step = .comparing
    tell(progress)
    try compare(all, with: try await read(target))
    try await hook(.afterComparing)
    var record = choices.choice(of: key)?.record ?? OffsetStoreRecord()
    record.store = target
    record.movingTo = ""
    record.emptying = from
    try await choices.change(key, from: choices.choice(of: key), to: record, by: principal)
    progress.step = .switched
    tell(progress)
    try await hook(.afterSwitch)
    try await empty(from, total: all.count)
  }

  /// The last step: nothing refers to the old place any more.
  func empty(_ from: String, total: Int?) async throws(Fault) {
    try await clear(from)
    try await hook(.afterEmptying)
    var record = choices.choice(of: key)?.record ?? OffsetStoreRecord()
    record.emptying = ""
    try await choices.change(key, from: choices.choice(of: key), to: record, by: principal)
    tell(Progress(step: .done, from: from, to: record.store, done: total ?? 0, total: total ?? 0))
  }

  private func compare(_ wanted: [StoredOffset], with found: [StoredOffset]) throws(Fault) {
    func same(_ one: StoredOffset, _ other: StoredOffset) -> Bool {
      one.partition == other.partition && one.committed.offset == other.committed.offset
        && one.committed.leaderEpoch == other.committed.leaderEpoch
        && one.committed.metadata == other.committed.metadata
    }
    let differing = zip(wanted, found).first { !same($0, $1) }?.0
    guard wanted.count == found.count, differing == nil else {
      throw Fault(
        .offsetStoreUnavailable,
        "the store \(target) does not give back what was copied to it (\(found.count) of \(wanted.count) offsets\(differing.map { ", first difference at \($0.partition)" } ?? "")); the group stays where it was. Repeat it, or take it back: `skein group move-offsets \(key.name) --to \(choices.choice(of: key)?.record.store ?? GroupOffsets.log)`",
        metadata: ["store": target, "group": key.name], retryAfterMilliseconds: 1_000)
    }
  }

  private func hook(_ step: MoveHook.Step) async throws(Fault) { try await offsets.moveHook?.at(step) }

  // MARK: Stores, `log` among them

  /// In the order of the partitions.
  private func read(_ name: String) async throws(Fault) -> [StoredOffset] {
    guard name == GroupOffsets.log else {
      return try await offsets.stores.store(name).fetch(key, nil).sorted { $0.partition < $1.partition }
    }
    return try await offsets.inLog(key).map {
      StoredOffset(partition: $0.key, committed: $0.value, memberEpoch: 0)
    }.sorted { $0.partition < $1.partition }
  }

  private func write(_ part: [StoredOffset]) async throws(Fault) {
    guard target == GroupOffsets.log else {
      return try await offsets.stores.store(target).commit(key, memberEpoch: 0, part)
    }
    let commits = part.map {
      OffsetCommit(
        partition: $0.partition, offset: $0.committed.offset, leaderEpoch: $0.committed.leaderEpoch,
        metadata: $0.committed.metadata)
    }
    _ = try await offsets.groups.ask(.resetOffsets(key, commits, dryRun: false), of: key)
  }

  private func clear(_ name: String) async throws(Fault) {
    guard name == GroupOffsets.log else { return try await offsets.stores.store(name).remove(key, nil) }
    let known = try await offsets.inLog(key)
    if !known.isEmpty { _ = try await offsets.removeInLog(key, known.keys.sorted()) }
  }
}
