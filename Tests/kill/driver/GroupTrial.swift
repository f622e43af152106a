import Foundation
import SkeinClient

/// One run: broker, load, members, faults, the end of the load, and the check.
final class GroupTrial {
  static let topic = "groups"
  static let group = "crew"
  /// A wait for something without a limit of its own.
  static let patience: Int64 = 90_000_000_000

  let options: GroupDriver
  private var broker: BrokerProcess
  private let tls: String
  private var members: [MemberProcess] = []
  private var view: GroupView
  private let ledger: GroupLedger
  private var report = GroupReport()

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

  private func gaps(in window: ClosedRange<Int64>, excluding: Set<Int>) -> (partitions: Int, gaps: [Int64]) {
    view.gaps(
      in: window, excluding: excluding, acknowledged: ledger.times,
      period: 1_000_000_000 / Int64(options.rate))
  }

  // MARK: Members

  @discardableResult
  private func add(_ more: [String] = []) throws -> MemberProcess {
    var arguments = [
      "--address", broker.address, "--tls", tls, "--topic", Self.topic, "--group", Self.group,
    ]
    if options.commitFirst { arguments.append("--commit-first") }
    let member = try MemberProcess(members.count, folder: options.directory, arguments: arguments + more)
    members.append(member)
    return member
  }

  private var active: [MemberProcess] { members.filter(\.isActive) }

  /// Reads the logs until `done` gives something.
  private func wait<Result>(
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

  private func refresh() throws {
    for member in members { for event in try member.refresh() { view.take(event, of: member.number) } }
  }

  private func settle(_ milliseconds: Int) async throws {
    try await Task.sleep(for: .milliseconds(milliseconds))
    try refresh()
  }

  // MARK: Faults

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
  private func has(_ member: MemberProcess) -> Set<Int> {
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

  private func inject(_ fault: GroupDriver.Fault, _ client: Client) async throws {
    switch fault {
    case .kill: try await killOne()
    case .stop: try await stopOne()
    case .join: try await join(try add(), "a member joins")
    case .leave: try await leave(try pick(), "a member leaves")
    case .rolling: try await rolling()
    case .broker: try await killBroker()
    case .slow: try await slow(client)
    }
  }

  /// The one that has most: its loss is felt most.
  private func pick() throws -> MemberProcess {
    guard active.count > 1, let member = active.max(by: { has($0).count < has($1).count }) else {
      throw TrialFailure("there is no second member to harm")
    }
    return member
  }

  /// Waits until everything is consumed by `others` again, notes what it cost, and lets things settle.
  private func recovered(
    _ name: String, since moment: Int64, limit: Int64?, harmed: Set<Int>,
    by isMember: @escaping (Int) -> Bool
  ) async throws {
    let end = try await wait("every partition is consumed again after: \(name)") {
      view.consumedAgain(since: moment, by: isMember)
    }
    try await note(name, since: moment, end: end, limit: limit, harmed: harmed)
  }

  private func note(_ name: String, since moment: Int64, end: Int64, limit: Int64?, harmed: Set<Int>)
    async throws
  {
    try await settle(1_000)
    let (unaffected, gaps) = gaps(in: moment...(end + 1_000_000_000), excluding: harmed)
    report.add(
      GroupReport.Fault(name: name, time: end - moment, limit: limit, unaffected: unaffected, gaps: gaps))
    say(
      "\(name): \(String(format: "%.2f", Double(end - moment) / 1e9)) s, \(unaffected) partitions unaffected")
  }

  private func killOne() async throws {
    let member = try pick()
    let moment = monotonicNanoseconds()
    await member.kill()
    try await recovered(
      "kill -9 of a member", since: moment, limit: Int64(options.graceMs + 1_000) * 1_000_000,
      harmed: [member.number]
    ) { $0 != member.number }
  }

  private func stopOne() async throws {
    let member = try pick()
    let had = has(member)
    let moment = monotonicNanoseconds()
    member.stop()
    try await recovered(
      "SIGSTOP of a member", since: moment, limit: Int64(options.sessionMs + 1_000) * 1_000_000,
      harmed: [member.number]
    ) { $0 != member.number }
    let resumed = monotonicNanoseconds()
    member.resume()
    // The zombie goes on where it was, is refused, drops everything, and comes back as a new member.
    let back = try await wait("the stopped member has joined again") {
      member.events.first { event in
        guard event.at > resumed, case .assigned(let some) = event.kind else { return false }
        return !some.isEmpty
      }?.at
    }
    let told = member.events.contains { event in
      guard event.at > resumed, event.at <= back else { return false }
      switch event.kind {
      case .lost(let some): return Set(some).isSuperset(of: had)
      default: return false
      }
    }
    if !told { report.note(\.broken, "SIGCONT: the member was not told that its partitions were lost") }
    let commits = member.events.contains { event in
      guard event.at > resumed, event.at <= back, case .committed = event.kind else { return false }
      return true
    }
    if commits {
      report.note(\.broken, "SIGCONT: a commit of the stopped member was taken before it joined again")
    }
    say("SIGCONT: it lost \(had.count) partitions and joined again after \((back - resumed) / 1_000_000) ms")
    try await settle(1_000)
  }

  private func join(_ member: MemberProcess, _ name: String) async throws {
    let share = options.partitions / active.count
    let (joined, end) = try await wait("\(name): it consumes its share") { () -> (Int64, Int64)? in
      let mine = has(member)
      guard mine.count >= share, let joined = member.events.first?.at else { return nil }
      var last = joined
      for partition in mine {
        guard let first = view.first(in: partition, since: joined, by: { $0 == member.number }) else {
          return nil
        }
        last = max(last, first)
      }
      return (joined, last)
    }
    try await note(name, since: joined, end: end, limit: 1_000_000_000, harmed: [member.number])
  }

  private func leave(_ member: MemberProcess, _ name: String) async throws {
    let moment = monotonicNanoseconds()
    member.leave()
    try await recovered(name, since: moment, limit: 1_000_000_000, harmed: [member.number]) {
      $0 != member.number
    }
    try await member.end()
  }

  private func rolling() async throws {
    for (index, member) in active.enumerated() {
      try await leave(member, "rolling restart \(index + 1): leaves")
      try await join(try add(), "rolling restart \(index + 1): joins")
    }
  }

  private func killBroker() async throws {
    try refresh()
    let seen = active.map { ($0, $0.events.count) }
    try await broker.kill()
    try await broker.start()
    let moment = monotonicNanoseconds()
    try await recovered(
      "kill -9 of the broker, ready", since: moment, limit: nil, harmed: Set(members.map(\.number))
    ) { _ in true }
    // Members resume by themselves with what they had; nothing is given or taken.
    for (member, count) in seen {
      let moved = member.events[count...].contains { event in
        switch event.kind {
        case .assigned, .revoked, .lost, .failed: true
        default: false
        }
      }
      if moved {
        report.note(
          \.broken, "kill -9 of the broker: member \(member.number)'s partitions changed, it did not resume")
      }
    }
  }

  // MARK: Slow members

  /// One record takes three times the processing deadline. Who asks for more time keeps its partition; who does not is
  /// removed and told why (the control: without it the deadline might not be watched at all).
  private func slow(_ client: Client) async throws {
    for extends in [true, false] {
      let topic = extends ? "slow-extends" : "slow-silent"
      try await client.admin.createTopicIfMissing(topic, partitions: 1)
      let producer = try await client.producer()
      let target = try await producer.topic(topic)
      for sequence in 0..<2 {
        try await target.append(
          value: GroupLoad.value(sequence: Int64(sequence), produced: monotonicNanoseconds()), partition: 0)
      }
      try await producer.close()
      let member = try MemberProcess(
        members.count + 1_000 + (extends ? 0 : 1), folder: options.directory,
        arguments: [
          "--address", broker.address, "--tls", tls, "--topic", topic, "--group", topic, "--work-ms", "3000",
          "--processing-ms", "1000",
        ] + (extends ? ["--extend"] : []))
      defer { member.abandon() }
      let wasRemoved = try await wait("the slow member ends its work, or is removed") { () -> Bool? in
        _ = try member.refresh()
        let losses = member.events.contains { if case .lost = $0.kind { true } else { false } }
        let done = member.events.count { if case .processed = $0.kind { true } else { false } }
        return losses ? true : done >= 2 ? false : nil
      }
      if wasRemoved == extends {
        report.note(
          \.broken,
          extends
            ? "a slow member that asks for more time was removed"
            : "a member that is silent past its processing deadline was not removed")
      }
      say(
        "a slow member that \(extends ? "extends" : "does not extend") its deadline: \(wasRemoved ? "removed" : "keeps its partition")"
      )
      member.leave()
      if extends { try await member.end() } else { member.abandon() }
    }
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
