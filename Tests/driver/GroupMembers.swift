import Foundation
import NIOCore
import NIOPosix
import SkeinCore
import Synchronization
import Transport
import Wire

/// Many groups with a few members each, which read nothing: they join, send their heartbeats, and give back what they
/// are asked for. Then one more member joins each of some groups, and it is measured when it gets its share.
struct GroupMembers {
  /// Streams of one connection.
  private static let perConnection = 500
  private static let lateJoins = 50

  let host: String
  let port: Int
  let tls: String
  let topic: String
  let members: Int

  /// Prints one line for each phase; the caller looks at the broker in between.
  func run(groups: Int, seconds: Int) async throws {
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    var connections: [GRPCConnection] = []
    var all: [[GroupMemberStream]] = []
    let begun = ContinuousClock.now
    var used = Self.perConnection
    for group in 0..<groups {
      var streams: [GroupMemberStream] = []
      for _ in 0..<members {
        if used == Self.perConnection {
          connections.append(try await connect(loops))
          used = 0
        }
        used += 1
        streams.append(join("bench-\(group)", on: connections[connections.count - 1]))
      }
      all.append(streams)
    }
    try await wait { all.allSatisfy { $0.allSatisfy { $0.owned > 0 } } }
    tell("{\"phase\":\"joined\",\"members\":\(groups * members),\"seconds\":\(Self.seconds(since: begun))}")
    try await Task.sleep(for: .seconds(seconds))
    let answered = all.joined().reduce(0) { $0 + $1.heartbeats }
    tell(
      "{\"phase\":\"held\",\"seconds\":\(seconds),\"heartbeats_answered\":\(answered),\"open\":\(all.joined().count { $0.isOpen })}"
    )
    var times: [Double] = []
    for number in 0..<(groups == 1 ? Self.lateJoins : min(groups, Self.lateJoins)) {
      let group = number % groups
      let began = ContinuousClock.now
      let stream = join("bench-\(group)", on: connections[number % connections.count])
      try await wait { stream.owned > 0 }
      times.append(Self.seconds(since: began))
      all[group].append(stream)
    }
    times.sort()
    tell(
      "{\"phase\":\"rebalanced\",\"joins\":\(times.count),\"median_seconds\":\(times[times.count / 2]),\"worst_seconds\":\(times[times.count - 1])}"
    )
    for connection in connections { await connection.close() }
    try await loops.shutdownGracefully()
  }

  /// At once, also into a pipe: who reads it looks at the broker then.
  private func tell(_ line: String) {
    print(line)
    fflush(nil)
  }

  private func join(_ group: String, on connection: GRPCConnection) -> GroupMemberStream {
    let stream = GroupMemberStream(group: group, topic: topic)
    connection.eventLoop.execute {
      connection.open(path: ConsumerMethod.subscribe) { call in
        stream.begin(call)
        return stream
      }
    }
    return stream
  }

  private func connect(_ loops: MultiThreadedEventLoopGroup) async throws -> GRPCConnection {
    var limits = TransportLimits()
    limits.streamWindowBytes = 65_535
    return try await GRPCConnection.connect(
      host: host, port: port, tls: .administrator(tls), limits: limits, group: loops)
  }

  /// Looks every millisecond, for two minutes.
  private func wait(_ condition: () -> Bool) async throws {
    for _ in 0..<120_000 {
      if condition() { return }
      try await Task.sleep(for: .milliseconds(1))
    }
    print("the members did not get their partitions within two minutes")
    throw CancellationError()
  }

  private static func seconds(since begun: ContinuousClock.Instant) -> Double {
    let took = (ContinuousClock.now - begun).components
    return Double(took.seconds) + Double(took.attoseconds) / 1e18
  }
}

/// One member. Threading: callbacks on the connection's loop, counts from any thread.
///
/// `@unchecked Sendable`: `call` and what follows it are touched on the connection's loop only.
private final class GroupMemberStream: CallHandler, @unchecked Sendable {
  private let group: String
  private let topic: String
  private let ownedCount = Atomic<Int>(0)
  private let answered = Atomic<Int>(0)
  private let ended = Atomic<Bool>(false)
  private var call: Call?
  private var epoch: Int32 = 0
  private var partitions: [TopicPartitions] = []
  private var beat: RepeatedTask?

  init(group: String, topic: String) {
    self.group = group
    self.topic = topic
  }

  var owned: Int { ownedCount.load(ordering: .relaxed) }
  var heartbeats: Int { answered.load(ordering: .relaxed) }
  var isOpen: Bool { !ended.load(ordering: .relaxed) }

  func begin(_ call: Call) {
    self.call = call
    send(SubscribeRequest(join: SubscribeJoin(group: group, clientID: "bench", topics: [topic])))
  }

  func received(_ message: SharedBytes) {
    call?.release(message.count)
    guard let response = try? SubscribeResponse(decoding: message) else { return }
    if let joined = response.joined, let call {
      let pause = TimeAmount.milliseconds(max(joined.heartbeatMs, 100))
      beat = call.eventLoop.scheduleRepeatedTask(initialDelay: pause, delay: pause) { [weak self] _ in
        self?.heartbeat(withOwned: false)
      }
    }
    if response.heartbeat != nil { answered.add(1, ordering: .relaxed) }
    guard let assignment = response.assignment, assignment.epoch >= epoch else { return }
    epoch = assignment.epoch
    partitions = assignment.partitions
    ownedCount.store(partitions.reduce(0) { $0 + $1.partitions.count }, ordering: .relaxed)
    heartbeat(withOwned: true)
  }

  private func heartbeat(withOwned: Bool) {
    send(
      SubscribeRequest(
        heartbeat: MemberHeartbeat(
          epoch: epoch, hasOwned: withOwned, owned: withOwned ? partitions : [], progress: .idle)))
  }

  private func send(_ request: SubscribeRequest) {
    guard let call, isOpen else { return }
    call.send(OutboundMessage(head: request.encoded()))
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    if status.code != .ok, status.code != .cancelled { print("a member's stream ended: \(status)") }
    ended.store(true, ordering: .relaxed)
    beat?.cancel()
    call = nil
  }
}
