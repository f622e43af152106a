import Foundation
import SkeinClient

/// One run: broker, load, members, faults, the end of the load, and the check.
final class GroupTrial {
  static let topic = "groups"
  static let group = "crew"
  /// A wait for something without a limit of its own.
  static let patience: Int64 = 90_000_000_000

  let options: GroupDriver
  var broker: BrokerProcess
  let tls: String
  var members: [MemberProcess] = []
  var view: GroupView
  private let ledger: GroupLedger
  var report = GroupReport()

  init(_ options: GroupDriver) {
    self.options = options
    let folder = options.directory + "/broker"
    tls = folder + "/tls"
    let settings = [
      "SKEIN_GROUPS_SESSION_MS=\(options.sessionMs)", "SKEIN_GROUPS_RECONNECT_GRACE_MS=\(options.graceMs)",
      "SKEIN_GROUPS_HEARTBEAT_MS=\(options.heartbeatMs)",
    ]
    broker = BrokerProcess(
      options.skeind, variables: environmentVariables(settings + options.environment), folder: folder,
      log: options.directory + "/skeind.log")
    view = GroupView(partitions: options.partitions)
    ledger = GroupLedger(partitions: options.partitions)
    report.gapLimit = Int64(options.gapLimitMs) * 1_000_000
  }

  func run() async throws -> GroupReport {
    try FileManager.default.createDirectory(
      atPath: options.directory + "/broker", withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
    defer {
      for member in members { member.abandon() }
      broker.abandon()
    }
    try await broker.start()
    var configuration = clientConfiguration(broker.address, tls: tls)
    configuration.waitsForReady = true
    let client = try Client(configuration)
    try await client.admin.createTopic(
      Self.topic, partitions: Int32(options.partitions), settings: ["retention.ms": "-1"])

    let isOver = Stop()
    let load = GroupLoad(
      client: client, topic: Self.topic, partitions: options.partitions, rate: options.rate, ledger: ledger,
      isOver: { isOver.isSet })
    let loading = Task { await load.run() }
    do {
      for _ in 0..<options.members { try add() }
      try await baseline()
      for fault in options.sequence { try await inject(fault, client) }
    } catch {
      isOver.set()
      loading.cancel()
      throw error
    }
    isOver.set()
    await loading.value
    try await finish(client)
    await client.close()
    try await broker.terminate()
    return report
  }

  func gaps(in window: ClosedRange<Int64>, excluding: Set<Int>) -> (partitions: Int, gaps: [Int64]) {
    view.gaps(
      in: window, excluding: excluding, acknowledged: ledger.times,
      period: 1_000_000_000 / Int64(options.rate))
  }

  // MARK: Members

  @discardableResult
  func add(_ more: [String] = []) throws -> MemberProcess {
    var arguments = [
      "--address", broker.address, "--tls", tls, "--topic", Self.topic, "--group", Self.group,
    ]
    if options.commitFirst { arguments.append("--commit-first") }
    let member = try MemberProcess(members.count, folder: options.directory, arguments: arguments + more)
    members.append(member)
    return member
  }

  var active: [MemberProcess] { members.filter(\.isActive) }

  /// Reads the logs until `done` gives something.
  func wait<Result>(
    _ what: String, atMost limit: Int64 = GroupTrial.patience, _ done: () throws -> Result?
  ) async throws -> Result {
    let deadline = monotonicNanoseconds() + limit
    while true {
      try refresh()
      if let result = try done() { return result }
      if let ending = broker.ending {
        throw TrialFailure("the broker ended by itself, \(ending); see \(broker.log)")
      }
      guard monotonicNanoseconds() < deadline else {
        throw TrialFailure("waited \(limit / 1_000_000_000) s in vain until \(what)")
      }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  func refresh() throws {
    for member in members { for event in try member.refresh() { view.take(event, of: member.number) } }
  }

  func settle(_ milliseconds: Int) async throws {
    try await Task.sleep(for: .milliseconds(milliseconds))
    try refresh()
  }

  // MARK: The beginning

  private func baseline() async throws {
    let begun = monotonicNanoseconds()
    let share = options.partitions / options.members
    _ = try await wait("all \(options.members) members have their share") {
      members.allSatisfy { has($0).count >= share } ? true : nil
    }
    _ = try await wait("every partition is consumed") { view.consumedAgain(since: begun) { _ in true } }
    try await settle(1_000)
    let start = monotonicNanoseconds()
    try await settle(options.before)
    report.normal = gaps(in: start...monotonicNanoseconds(), excluding: []).gaps
    say("\(options.members) members have \(options.partitions) partitions, \(ledger.count) records so far")
  }

  /// What a member has, by its own log.
  func has(_ member: MemberProcess) -> Set<Int> {
    var partitions: Set<Int> = []
    for event in member.events {
      switch event.kind {
      case .assigned(let some): partitions.formUnion(some)
      case .revoked(let some), .lost(let some): partitions.subtract(some)
      case .ended: partitions = []
      default: break
      }
    }
    return partitions
  }

  // MARK: The end

  private func finish(_ client: Client) async throws {
    let description = { try await client.admin.describeGroup(Self.group) }
    // Records that are lost for good never come: the check says so.
    let deadline = monotonicNanoseconds() + 20_000_000_000
    while monotonicNanoseconds() < deadline {
      try refresh()
      let done = try await description().partitions
      if done.count == options.partitions, done.allSatisfy({ $0.lag == 0 && $0.error == nil }) { break }
      try await Task.sleep(for: .milliseconds(200))
    }
    for member in active { member.leave() }
    for member in active { try await member.end() }
    try refresh()
    var committed = Array(repeating: Int64(-1), count: options.partitions)
    for offset in try await client.admin.fetchOffsets(group: Self.group) {
      if committed.indices.contains(Int(offset.partition)) {
        committed[Int(offset.partition)] = offset.offset
      }
    }
    var ends = Array(repeating: Int64(0), count: options.partitions)
    for end in try await client.admin.listOffsets(Self.topic, at: .end) {
      ends[Int(end.partition)] = end.offset
    }
    GroupCheck(members: members, ledger: ledger, view: view, committed: committed, ends: ends).run(&report)
  }
}
