import Foundation
import SkeinClient

/// What is done to the members and the broker, and what each of it cost.
extension GroupTrial {
  func inject(_ fault: GroupDriver.Fault, _ client: Client) async throws {
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
}
