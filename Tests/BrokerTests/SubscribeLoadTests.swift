import Foundation
import GroupCoordination
import NIOCore
import NIOPosix
import SkeinCore
import Synchronization
import Testing
import Transport
import Wire

@testable import Broker

/// Very many members on one broker, over loopback and TLS, both ends in this process: what they cost. Not part of the
/// ordinary run; figures are of a release build:
///
///     SKEIN_MEMBERS=5000 swift test -c release -Xswiftc -enable-testing --filter SubscribeLoadTests
@Suite(.serialized, .enabled(if: ProcessInfo.processInfo.environment["SKEIN_MEMBERS"] != nil))
struct SubscribeLoadTests {
  static let perGroup = 5
  static let partitions: Int32 = 12

  @Test func manyMembersOfManyGroups() async throws {
    let count = Int(ProcessInfo.processInfo.environment["SKEIN_MEMBERS"] ?? "") ?? 5_000
    let seconds = Int(ProcessInfo.processInfo.environment["SKEIN_SECONDS"] ?? "") ?? 20
    let fixture = try await GroupFixture.start(partitions: Self.partitions)
    var connections: [GRPCConnection] = []
    for _ in 0..<max(1, (count + 899) / 900) { connections.append(try await fixture.test.connect()) }
    let before = Usage.now

    let began = ContinuousClock.now
    var members: [LoadMember] = []
    for number in 0..<count {
      let member = try await LoadMember.join(
        connections[number % connections.count], group: "g\(number / Self.perGroup)", number: number)
      members.append(member)
      // So many joins under way at once.
      if number >= 200 { await members[number - 200].first() }
    }
    for member in members { await member.first() }
    let groups = (count + Self.perGroup - 1) / Self.perGroup
    await settle(members, total: groups * Int(Self.partitions))
    let joined = ContinuousClock.now - began
    let after = Usage.now
    print("members \(count), groups \(groups): joined and settled in \(joined)")
    print(
      "memory: \((after.residentKiB - before.residentKiB) * 1024 / count) bytes a member, both ends; CPU \((after.cpuMicroseconds - before.cpuMicroseconds) / count) us a join"
    )

    let idle = Usage.now
    let heard = members.reduce(0) { $0 + $1.counts.beats }
    try await Task.sleep(for: .seconds(seconds))
    let later = Usage.now
    let beats = members.reduce(0) { $0 + $1.counts.beats } - heard
    let cpu = later.cpuMicroseconds - idle.cpuMicroseconds
    print(
      "heartbeats: \(beats) in \(seconds) s, \(Double(cpu) / Double(max(beats, 1))) us of CPU each, both ends and all else; \(Double(cpu) / 10_000 / Double(seconds)) % of a core"
    )
    #expect(beats >= count)

    try await rebalance(fixture, connections[0], Array(members[..<Self.perGroup]))
    for member in members { member.cancel() }
    for connection in connections { await connection.close() }
    await fixture.end()
  }

  /// Every partition of every group is with somebody, and nobody gives anything back.
  private func settle(_ members: [LoadMember], total: Int) async {
    for _ in 0..<6_000 {
      if members.reduce(0, { $0 + $1.counts.owned }) == total { return }
      try? await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("the groups do not settle: \(members.reduce(0) { $0 + $1.counts.owned }) of \(total)")
  }

  /// One group under load while a member joins and goes: how long until every partition is with somebody again, and the
  /// longest gap between records of partitions that stay where they are, before and meanwhile.
  private func rebalance(
    _ fixture: GroupFixture, _ connection: GRPCConnection, _ members: [LoadMember]
  ) async throws {
    let load = Task {
      var number = 0
      while !Task.isCancelled {
        for partition in 0..<Self.partitions {
          let _: PublishResponse = try await fixture.connection.call(
            ProducerMethod.publish,
            PublishRequest(topic: "t", records: [Record(value: SharedBytes([1]), partition: partition)]))
        }
        number += 1
      }
    }
    for member in members { member.credit() }
    try await Task.sleep(for: .seconds(1))
    for member in members { member.restartGaps() }
    try await Task.sleep(for: .seconds(2))
    let normal = members.map { $0.worstGap(of: $0.counts.partitions) }.max() ?? 0

    for round in 0..<5 {
      let had = members.map(\.counts.partitions)
      for member in members { member.restartGaps() }
      var clock = ContinuousClock.now
      let sixth = try await LoadMember.join(connection, group: "g0", number: 1_000_000 + round)
      await sixth.first()
      sixth.credit()
      await settle(members + [sixth], total: Int(Self.partitions))
      let joining = ContinuousClock.now - clock
      try await Task.sleep(for: .milliseconds(300))
      let stayed = zip(members, had).map { $0.counts.partitions.intersection($1) }
      let gap = zip(members, stayed).map { $0.worstGap(of: $1) }.max() ?? 0
      clock = ContinuousClock.now
      sixth.leave()
      await settle(members, total: Int(Self.partitions))
      let leaving = ContinuousClock.now - clock
      print(
        "join settled in \(joining), leave in \(leaving); gap of partitions that stayed \(gap / 1_000) us (before: \(normal / 1_000) us)"
      )
    }
    load.cancel()
    _ = try? await load.value
  }
}

/// A member that does what it must by itself, on its connection's loop: it gives back at once, and sends heartbeats.
///
/// `@unchecked Sendable`: `call` and `epoch` are touched on the loop only.
private final class LoadMember: CallHandler, @unchecked Sendable {
  struct Counts {
    var owned: Int { partitions.count }
    var partitions: Set<Int32> = []
    var beats = 0
    var records = 0
  }

  private let state = Mutex(Counts())
  private let gaps = Mutex<[Int32: (last: Int64, worst: Int64)]>([:])
  private let arrived: EventLoopPromise<Void>
  private let loop: any EventLoop
  private var call: Call?
  private var epoch: Int32 = 0
  private var revoking: Set<Int32> = []
  private var timer: RepeatedTask?

  private init(_ loop: any EventLoop) {
    self.loop = loop
    arrived = loop.makePromise()
  }

  var counts: Counts { state.withLock { $0 } }
  func first() async { try? await arrived.futureResult.get() }

  static func join(_ connection: GRPCConnection, group: String, number: Int) async throws -> LoadMember {
    let loop = connection.eventLoop
    let member = LoadMember(loop)
    try await loop.submit {
      let call = connection.open(path: ConsumerMethod.subscribe) { _ in member }
      member.call = call
      member.send(SubscribeRequest(join: SubscribeJoin(group: group, topics: ["t"], reset: .latest)))
      member.timer = loop.scheduleRepeatedTask(
        initialDelay: .milliseconds(Int64(number % 5_000)), delay: .seconds(5)
      ) { [weak member] _ in member?.beat(withOwned: false) }
    }.get()
    return member
  }

  func credit() {
    loop.execute { self.send(SubscribeRequest(credit: ReadCredit(messages: 1 << 40, bytes: 1 << 40))) }
  }
  func leave() { loop.execute { self.send(SubscribeRequest(leave: MemberLeave())) } }
  func cancel() { loop.execute { self.call?.cancel() } }

  func restartGaps() { gaps.withLock { $0 = [:] } }
  func worstGap(of partitions: Set<Int32>) -> Int64 {
    gaps.withLock { gaps in partitions.compactMap { gaps[$0]?.worst }.max() ?? 0 }
  }

  private func send(_ request: SubscribeRequest) {
    call?.send(OutboundMessage(head: request.encoded(), parts: []))
  }

  private func beat(withOwned: Bool) {
    guard epoch > 0 else { return }
    var heartbeat = MemberHeartbeat(epoch: epoch, progress: .working)
    if withOwned {
      heartbeat.hasOwned = true
      let owned = counts.partitions.sorted()
      heartbeat.owned = owned.isEmpty ? [] : [TopicPartitions(topic: "t", partitions: owned)]
    }
    send(SubscribeRequest(heartbeat: heartbeat))
  }

  func received(_ message: SharedBytes) {
    call?.release(message.count)
    guard let response = try? SubscribeResponse(decoding: message, limits: .reply) else { return }
    if response.heartbeat != nil { state.withLock { $0.beats += 1 } }
    if let read = response.read {
      let now = Int64(DispatchTime.now().uptimeNanoseconds)
      gaps.withLock { gaps in
        let known = gaps[read.partition] ?? (now, 0)
        gaps[read.partition] = (now, max(known.worst, now - known.last))
      }
    }
    guard let assignment = response.assignment else { return }
    let isNew = assignment.epoch > epoch
    let partitions = Set(assignment.partitions.flatMap(\.partitions))
    state.withLock { $0.partitions = isNew ? partitions : $0.partitions.intersection(partitions) }
    epoch = max(epoch, assignment.epoch)
    if !assignment.revoke.isEmpty { beat(withOwned: true) }
    arrived.succeed()
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    timer?.cancel()
    call = nil
    state.withLock { $0.partitions = [] }
    arrived.succeed()
    if status.code != .ok, status.code != .cancelled { print("a member ended: \(status)") }
  }
}

private struct Usage {
  var residentKiB: Int
  var cpuMicroseconds: Int

  static var now: Usage {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    let cpu =
      (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1_000_000 + Int(usage.ru_utime.tv_usec)
      + Int(usage.ru_stime.tv_usec)
    let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
    return Usage(
      residentKiB: Int(line.split(separator: " ").dropFirst().first ?? "") ?? 0, cpuMicroseconds: cpu)
  }
}
