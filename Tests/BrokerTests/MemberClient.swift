import Foundation
import GroupCoordination
import NIOCore
import RecordFormat
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

typealias SubscribeClient = StreamClient<SubscribeRequest, SubscribeResponse>

/// A member of a group over a raw stream, which does what ADR 0011 asks of one and nothing by itself: every message
/// that it sends is an order of the test. Topic "t" unless a test says otherwise.
///
/// Confined to its test. A stream that is silent for too long is cancelled, so that a test fails instead of hanging.
final class MemberClient {
  static let patience = TimeAmount.seconds(20)

  let stream: SubscribeClient
  let group: String
  private let guardian: Scheduled<Void>
  private(set) var id = ""
  private(set) var joined: SubscribeJoined?
  private(set) var epoch: Int32 = 0
  private(set) var owned: Set<Int32> = []
  private(set) var revoking: Set<Int32> = []
  /// The newest assignment, applied.
  private(set) var assignment: SubscribeAssignment?
  /// The next record of each partition.
  private(set) var positions: [Int32: Int64] = [:]
  private(set) var received: [Int32: [Int64]] = [:]
  private(set) var values: [String] = []
  private(set) var totalMessages: UInt64 = 0
  private(set) var totalBytes: UInt64 = 0
  private(set) var commits: [UInt64: CommitResults] = [:]
  private var nextCommit: UInt64 = 1

  /// On a stream on which the test says what it likes, if not `open` or `join`.
  init(_ stream: SubscribeClient, _ group: String, _ loop: any EventLoop) {
    self.stream = stream
    self.group = group
    let box = Unchecked(stream)
    guardian = loop.scheduleTask(in: Self.patience) { box.value.cancelNow() }
  }

  deinit { guardian.cancel() }

  /// Opens a stream and sends the join; reads nothing yet.
  static func open(
    _ connection: GRPCConnection, group: String = "g",
    credit: ReadCredit? = ReadCredit(messages: 1 << 40, bytes: 1 << 40),
    _ configure: (inout SubscribeJoin) -> Void = { _ in }
  ) async throws -> MemberClient {
    let stream = try await SubscribeClient.open(ConsumerMethod.subscribe, on: connection)
    let member = MemberClient(stream, group, connection.eventLoop)
    var join = SubscribeJoin(group: group, topics: ["t"])
    configure(&join)
    try await stream.send(SubscribeRequest(join: join, credit: credit))
    return member
  }

  /// Opens a stream and waits for the first assignment.
  static func join(
    _ connection: GRPCConnection, group: String = "g",
    credit: ReadCredit? = ReadCredit(messages: 1 << 40, bytes: 1 << 40),
    _ configure: (inout SubscribeJoin) -> Void = { _ in }
  ) async throws -> MemberClient {
    let member = try await open(connection, group: group, credit: credit, configure)
    try await member.until { $0.assignment != nil }
    return member
  }

  /// Comes back on another stream, with everything that it has.
  func resume(_ connection: GRPCConnection) async throws -> MemberClient {
    let positions = (owned.union(revoking)).sorted().map {
      PartitionOffset(topic: "t", partition: $0, offset: self.positions[$0] ?? -1)
    }
    let (id, epoch) = (self.id, self.epoch)
    let member = try await Self.open(connection, group: group) { join in
      join.memberID = id
      join.resume = SubscribeResume(epoch: epoch, positions: positions)
    }
    member.epoch = epoch
    member.owned = owned
    member.positions = self.positions
    return member
  }

  // MARK: Receiving

  /// Takes one message; nil when the stream has ended.
  @discardableResult
  func next() async throws -> SubscribeResponse? {
    guard let response = try await stream.next() else { return nil }
    if let joined = response.joined {
      self.joined = joined
      id = joined.memberID
    }
    if let assignment = response.assignment { apply(assignment) }
    if let read = response.read { take(read, response) }
    if let committed = response.committed { commits[committed.id] = committed }
    return response
  }

  /// Takes messages until the condition holds, which may be at once.
  @discardableResult
  func until(
    sourceLocation: SourceLocation = #_sourceLocation, _ condition: (MemberClient) -> Bool
  ) async throws -> SubscribeResponse? {
    var last: SubscribeResponse?
    while !condition(self) {
      guard let response = try await next() else {
        let status = try await stream.status()
        Issue.record("the stream ended: \(status)", sourceLocation: sourceLocation)
        throw CancellationError()
      }
      last = response
    }
    return last
  }

  /// Takes messages until one of them gives a value.
  func first<Value>(
    sourceLocation: SourceLocation = #_sourceLocation, _ part: (SubscribeResponse) -> Value?
  ) async throws -> Value {
    while true {
      guard let response = try await next() else {
        let status = try await stream.status()
        Issue.record("the stream ended: \(status)", sourceLocation: sourceLocation)
        throw CancellationError()
      }
      if let value = part(response) { return value }
    }
  }

  /// The reason that the stream ends with.
  func ending() async throws -> Reason {
    while try await next() != nil {}
    return try await stream.fault().reason
  }

  private func apply(_ assignment: SubscribeAssignment) {
    func numbers(_ lists: [TopicPartitions]) -> Set<Int32> {
      Set(lists.filter { $0.topic == "t" }.flatMap(\.partitions))
    }
    self.assignment = assignment
    let (partitions, revoke) = (numbers(assignment.partitions), numbers(assignment.revoke))
    let had = owned.union(revoking)
    revoking = had.intersection(revoke)
    if assignment.epoch > epoch {
      owned = partitions
      epoch = assignment.epoch
    } else {
      owned = owned.intersection(partitions)
    }
    for gone in had.subtracting(owned).subtracting(revoking) { positions[gone] = nil }
  }

  private func take(_ read: ReadBatches, _ response: SubscribeResponse) {
    // Nothing comes of a partition before the assignment that gave it, or after the one that took it.
    if !owned.contains(read.partition) {
      Issue.record("records of partition \(read.partition), which is not owned")
    }
    totalMessages = read.totalMessages
    totalBytes = read.totalBytes
    positions[read.partition] = read.nextOffset
    let from = max(read.fromOffset, read.baseOffset)
    for record in response.records?.records ?? [] { keep(record.offset, text(record.value?.array), read) }
    var reader = BatchReader(limits: BatchLimits())
    var rest = response.batches.joined.array[...]
    while !rest.isEmpty {
      let size = try? Array(rest).withUnsafeBytes { try BatchHeader(parsing: $0).totalSize }
      guard let size, size <= rest.count else {
        Issue.record("a batch is cut off")
        return
      }
      _ = try? Array(rest.prefix(size)).withUnsafeBytes { bytes in
        try reader.forEach(bytes) { record in
          if record.offset >= from { keep(record.offset, text(record.value.map { Array($0) }), read) }
        }
      }
      rest = rest.dropFirst(size)
    }
  }

  private func keep(_ offset: Int64, _ value: String, _ read: ReadBatches) {
    received[read.partition, default: []].append(offset)
    values.append(value)
  }

  // MARK: Sending

  func credit(messages: UInt64, bytes: UInt64 = 1 << 40) async throws {
    try await stream.send(SubscribeRequest(credit: ReadCredit(messages: messages, bytes: bytes)))
  }

  func heartbeat(owned list: Set<Int32>? = nil, _ configure: (inout MemberHeartbeat) -> Void = { _ in })
    async throws
  {
    var heartbeat = MemberHeartbeat(epoch: epoch, progress: .idle)
    if let list {
      heartbeat.hasOwned = true
      heartbeat.owned = list.isEmpty ? [] : [TopicPartitions(topic: "t", partitions: list.sorted())]
    }
    configure(&heartbeat)
    try await stream.send(SubscribeRequest(heartbeat: heartbeat))
  }

  /// Sends a heartbeat and waits for its answer.
  @discardableResult
  func beat(owned list: Set<Int32>? = nil) async throws -> BrokerHeartbeat {
    try await heartbeat(owned: list)
    return try await first(\.heartbeat)
  }

  /// Gives back what it was told to.
  func release() async throws {
    let kept = owned.subtracting(revoking)
    for gone in revoking { positions[gone] = nil }
    revoking = []
    owned = kept
    try await heartbeat(owned: kept)
  }

  @discardableResult
  func send(commit offsets: [Int32: Int64]) async throws -> UInt64 {
    let id = nextCommit
    nextCommit += 1
    let list = offsets.sorted { $0.key < $1.key }.map {
      PartitionOffset(topic: "t", partition: $0.key, offset: $0.value)
    }
    try await stream.send(SubscribeRequest(commit: MemberCommit(id: id, offsets: list)))
    return id
  }

  /// Commits and waits; the reasons of what failed, by partition.
  func commit(_ offsets: [Int32: Int64]) async throws -> [Int32: Reason] {
    let id = try await send(commit: offsets)
    try await until { $0.commits[id] != nil }
    var failed: [Int32: Reason] = [:]
    for result in commits[id]?.results ?? [] {
      if let error = result.error, error.code != 0 { failed[result.partition] = Fault(error).reason }
    }
    return failed
  }

  func ack(_ ranges: [(partition: Int32, first: Int64, last: Int64)]) async throws {
    let list = ranges.map { AckedRange(topic: "t", partition: $0.partition, first: $0.first, last: $0.last) }
    try await stream.send(SubscribeRequest(ack: MemberAck(ranges: list)))
  }

  func leave(temporary: Bool = false) async throws {
    try await stream.send(SubscribeRequest(leave: MemberLeave(temporary: temporary)))
    while try await next() != nil {}
    #expect(try await stream.status().code == .ok)
  }

  func cancel() async throws { try await stream.cancel() }
}
