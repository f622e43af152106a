import CommitLog
import GroupCoordination
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import Simulation
import SkeinCore

@testable import Broker

/// One coordinator on a simulated disk, with time, loop and flusher in the test's hand.
///
/// `@unchecked Sendable`: one test at a time; what belongs to the loop is touched on it only.
final class HostHarness: @unchecked Sendable {
  static let key = GroupKey(tenant: "t", name: "g")
  static let partition = TopicPartition(topic: TopicID(high: 9, low: 9), partition: 0)
  let disk: SimulatedDisk
  let time = SimulatedTime()
  let loop = NIOAsyncTestingEventLoop()
  private let random = SeededRandom(seed: 1)
  private(set) var directory: LogDirectory!
  private(set) var host: CoordinatorHost!
  private let adjust: (inout LogConfiguration) -> Void

  init(seed: UInt64 = 1, adjust: @escaping (inout LogConfiguration) -> Void = { _ in }) async throws {
    disk = SimulatedDisk(seed: seed)
    self.adjust = adjust
    try await open()
  }

  /// A broker's start: the log is recovered, the coordinator reads it.
  func open() async throws {
    var configuration = LogConfiguration(clusterID: "test")
    configuration.journal.fileSize = 256 << 10
    configuration.journal.fileCount = 4
    configuration.reserveBytes = 1 << 20
    configuration.emergencyBytes = 64 << 10
    adjust(&configuration)
    directory = nil
    directory = try LogDirectory.open(disk: disk, configuration: configuration, time: time, random: random)
    let shard = PartitionShard(
      loop: loop, directory: directory, time: time, ioPool: .singleton, budget: MemoryBudget(limit: 64 << 20),
      notifyFlusher: {})
    let log = directory.createPartition(Self.partition, settings: PartitionSettings())
    host = CoordinatorHost(
      key: Self.partition, shard: shard,
      seams: CoordinatorHost.Seams(
        configuration: GroupConfiguration(), time: time,
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, resolve: { _, _ in },
        existingTopics: { [TopicID(high: 1, low: 1)] }))
    try await onLoop { harness in
      harness.host.shard.add(log)
      harness.host.load()
    }
    try await loaded()
  }

  /// Waits for the log to be read, part of which happens on another thread.
  func loaded() async throws {
    for _ in 0..<2_000 where try await onLoop({ if case .loading = $0.host.phase { true } else { false } }) {
      try await Task.sleep(for: .milliseconds(1))
      await loop.run()
    }
  }

  @discardableResult
  func onLoop<T: Sendable>(_ body: @escaping @Sendable (HostHarness) throws -> T) async throws -> T {
    let result = try await loop.executeInContext { try body(self) }
    await loop.run()
    return result
  }

  func flush() async throws {
    let advances = Unchecked(try directory.flushStep())
    try await onLoop { $0.host.shard.advance(advances.value) }
  }

  func pass(milliseconds: Int64) async {
    time.advance(milliseconds: milliseconds)
    await loop.advanceTime(by: .milliseconds(milliseconds))
  }

  /// What a request was answered, once it was.
  ///
  /// `@unchecked Sendable`: written on the loop, which runs only while the test waits for it.
  final class Answer: @unchecked Sendable {
    var result: Result<GroupReply, Fault>?
    var isCommitted: Bool {
      if case .success(.committed(let results)) = result { return results.allSatisfy { $0 == nil } }
      return false
    }
    var reason: Reason? { if case .failure(let fault) = result { fault.reason } else { nil } }
  }

  /// Asked in one turn of the loop.
  func ask(_ requests: [GroupRequest]) async throws -> [Answer] {
    try await onLoop { harness in
      requests.map { request in
        let answer = Answer()
        harness.host.ask(request, GroupAnswer(loop: harness.loop, receive: { answer.result = $0 }))
        return answer
      }
    }
  }

  static func commit(_ offset: Int64, partition: Int32 = 0, metadata: Int = 0) -> GroupRequest {
    let position = TopicPartition(topic: TopicID(high: 1, low: 1), partition: partition)
    return .commit(
      CommitRequest(
        group: key, member: nil,
        offsets: [
          OffsetCommit(
            partition: position, offset: Offset(offset), metadata: String(repeating: "x", count: metadata))
        ]))
  }

  func commit(_ offset: Int64, metadata: Int = 0) async throws -> Answer {
    try await ask([Self.commit(offset, metadata: metadata)])[0]
  }

  func committed(_ partition: Int32 = 0) async throws -> Int64? {
    let position = TopicPartition(topic: TopicID(high: 1, low: 1), partition: partition)
    return try await onLoop {
      $0.host.coordinator.table.groups[Self.key]?.offsets[position]?.offset.rawValue
    }
  }

  func isActive() async throws -> Bool {
    try await onLoop { if case .active = $0.host.phase { true } else { false } }
  }

  var log: PartitionLog { directory.createPartition(Self.partition, settings: PartitionSettings()) }

  /// The process ends, wherever it is.
  func stop() async throws {
    try await onLoop { $0.host.close() }
    directory.abandon()
  }

  func close() async throws {
    try await stop()
    await loop.shutdownGracefully()
  }
}
