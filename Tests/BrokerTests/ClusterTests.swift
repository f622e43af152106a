import CommitLog
import Foundation
import SkeinCore
import Synchronization
import Testing
import Transport
import Wire

@testable import Broker

typealias WatchClient = StreamClient<WatchClusterRequest, WatchClusterResponse>

/// Health, watch, drain and the acceptance of loss, through gRPC.
@Suite(.serialized) struct ClusterTests {
  private func health(_ connection: GRPCConnection) async throws -> ClusterHealthResponse {
    try await connection.call(ClusterMethod.health, ClusterHealthRequest())
  }

  private func create(_ connection: GRPCConnection, _ name: String, partitions: Int32 = 1) async throws {
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: name, partitions: partitions))
  }

  // MARK: Health

  @Test func aHealthyBrokerSaysSoWithNumbers() async throws {
    let (test, connection) = try await StreamTests.setUp(partitions: 3)
    let answer = try await health(connection)
    #expect(answer.status == .ok && answer.phase == .ready && answer.problems.isEmpty)
    #expect(answer.topics == 1 && answer.partitions == 3 && answer.offlinePartitionCount == 0)
    let directory = try #require(answer.directories.first)
    #expect(directory.state == .online && directory.error == nil && directory.path.hasSuffix("/log"))
    #expect(directory.diskFreeBytes > 0 && directory.diskTotalBytes >= directory.diskFreeBytes)
    #expect(directory.journalBytes > 60 << 20 && directory.journalUsedBytes < directory.journalBytes)
    #expect(directory.queuedLimitBytes > 0 && directory.unwrittenLimitBytes > 0)
    #expect(answer.memoryLimitBytes == 512 << 20)
    await connection.close()
    await test.remove()
  }

  /// Every problem has its severity, reason and cure; the worst comes first.
  @Test func everyProblemIsJudged() {
    var directory = DirectoryCondition(state: .online)
    directory.space = DiskSpace(free: 100, total: 1_000)
    directory.reserveBytes = 10
    directory.journalBytes = 100
    func report(_ phase: HealthState.Phase = .ready, memory: Int = 0, offline: Int = 0) -> HealthReport {
      HealthReport(
        HealthReport.Facts(
          phase: phase, directory: directory, memoryReserved: memory, memoryLimit: 100,
          offline: offline > 0 ? [("orders/3", "segment 0 is bad")] : [], offlineCount: offline))
    }
    #expect(report().severity == .ok && report(.failed).severity == .ok)
    #expect(report(.draining).problems.map(\.reason) == [.draining])
    #expect(report(.starting).problems.map(\.reason) == [.notReady])
    #expect(report(memory: 89).severity == .ok)
    #expect(report(memory: 90).problems.map(\.subject) == ["memory budget"])
    let offline = report(offline: 5)
    #expect(offline.severity == .degraded && offline.problems.map(\.reason) == [.dataCorrupt, .dataCorrupt])
    #expect(offline.problems.map(\.subject) == ["partition orders/3", "partitions"])
    #expect(offline.problems.last?.what.contains("4 more") == true)
    directory.journalUsedBytes = 95
    directory.queuedBytes = 1
    directory.unwrittenBytes = 1
    directory.isRetentionPaused = true
    #expect(report().problems.map(\.subject) == ["journal", "submission queue", "write-behind", "clock"])
    directory = DirectoryCondition(state: .full)
    directory.reserveBytes = 10
    directory.space = DiskSpace(free: 5, total: 1_000)
    let full = report(.draining)
    #expect(full.severity == .failed && full.problems.map(\.reason) == [.diskFull, .draining])
    directory.state = .online
    directory.space?.free = 15
    #expect(report().problems.first?.severity == .degraded)
    directory.state = .offline(.offline(DiskError(.io, operation: "fdatasync", path: "journal")))
    #expect(report().problems.map(\.reason) == [.logOffline])
    #expect(report(memory: 99, offline: 1).problems.allSatisfy { !$0.action.isEmpty && !$0.what.isEmpty })
  }

  // MARK: Watch

  /// The next message that is not a heartbeat.
  private func next(_ watch: WatchClient) async throws -> WatchClusterResponse {
    while true {
      let message = try #require(try await watch.next())
      if message.heartbeat == nil { return message }
    }
  }

  @Test func watchersSeeASnapshotThenChangesAndResume() async throws {
    let test = try await TestBroker.start { $0.watchedChanges = 8 }
    let connection = try await test.connect()
    try await create(connection, "a")
    let watch = try await WatchClient.open(ClusterMethod.watch, on: connection)
    try await watch.send(WatchClusterRequest())
    let snapshot = try await next(watch)
    #expect(snapshot.reset && snapshot.synced && snapshot.revision > 0)
    #expect(snapshot.topics.map(\.name) == ["a"] && snapshot.status?.phase == .ready)

    try await create(connection, "b")
    let created = try await next(watch)
    #expect(created.revision > snapshot.revision && created.topics.map(\.name) == ["b"] && !created.reset)
    let _: AddPartitionsResponse = try await connection.call(
      TopicsMethod.addPartitions, AddPartitionsRequest(name: "a", partitions: 4))
    let grown = try await next(watch)
    #expect(grown.topics.first?.partitions == 4 && grown.topics.first?.generation == 2)
    let _: DeleteTopicResponse = try await connection.call(TopicsMethod.delete, DeleteTopicRequest(name: "b"))
    let deleted = try await next(watch)
    #expect(deleted.topics.isEmpty && deleted.deleted.map(\.name) == ["b"])
    try await watch.cancel()

    // Resumed from the middle: only what changed since, once, as it is now.
    func resume(_ revision: Int64) async throws -> WatchClusterResponse {
      let again = try await WatchClient.open(ClusterMethod.watch, on: connection)
      try await again.send(WatchClusterRequest(fromRevision: revision))
      let first = try await next(again)
      try await again.cancel()
      return first
    }
    let missed = try await resume(created.revision)
    #expect(!missed.reset && missed.synced && missed.revision == deleted.revision)
    #expect(missed.topics.map(\.name) == ["a"] && missed.deleted.map(\.name) == ["b"])
    let nothing = try await resume(deleted.revision)
    #expect(!nothing.reset && nothing.synced && nothing.topics.isEmpty && nothing.deleted.isEmpty)

    // More changes than are kept, a revision of another life, one of the future: a snapshot.
    for number in 0..<9 { try await create(connection, "t\(number)") }
    for revision in [created.revision, 5, Int64.max] {
      let fresh = try await resume(revision)
      #expect(fresh.reset && fresh.topics.count == 10, "\(revision)")
    }
    let wrong = try await WatchClient.open(ClusterMethod.watch, on: connection)
    try await wrong.send(WatchClusterRequest(fromRevision: -1))
    #expect(try await wrong.fault().reason == .invalidRequest)
    #expect(test.broker.context.feed.watcherCount <= 1)
    await connection.close()
    await test.remove()
  }

  /// A large snapshot comes in pages; only its end can be resumed from.
  @Test func snapshotsComeInPages() async throws {
    let test = try await TestBroker.start()
    let registry = test.broker.context.registry
    for number in 0..<1_203 {
      registry.publish(
        Topic(
          id: TopicID(high: 1, low: UInt64(number)), tenant: .default, name: "t\(10_000 + number)",
          partitions: 1,
          partitioner: .murmur2, generation: 1, settings: TopicSettings(), explicitSettings: [:],
          createdMilliseconds: 0, revision: Int64(number + 1)))
    }
    let connection = try await test.connect()
    let watch = try await WatchClient.open(ClusterMethod.watch, on: connection)
    try await watch.send(WatchClusterRequest())
    let pages = [try await next(watch), try await next(watch), try await next(watch)]
    #expect(pages.map(\.topics.count) == [500, 500, 203])
    #expect(pages.map(\.reset) == [true, false, false] && pages.map(\.synced) == [false, false, true])
    #expect(pages.map { $0.revision > 0 } == [false, false, true])
    #expect(Set(pages.flatMap { $0.topics.map(\.name) }).count == 1_203)
    await connection.close()
    await test.remove()
  }

  /// Changes of one topic are told once, in the order of the last ones, and bounded by the ring.
  @Test func theFeedCoalescesAndForgets() throws {
    let feed = ClusterFeed(startedMilliseconds: 1_000, capacity: 5)
    let begin = feed.revision
    func change(_ name: String) {
      feed.changed(
        Topic(
          id: TopicID(high: 0, low: 1), tenant: .default, name: name, partitions: 1, partitioner: .murmur2,
          generation: 1, settings: TopicSettings(), explicitSettings: [:], createdMilliseconds: 0, revision: 1
        ))
    }
    let calls = Mutex(0)
    let watcher = feed.watch { calls.withLock { $0 += 1 } }
    for name in ["a", "b", "a", "a"] { change(name) }
    feed.set { $0.phase = .ready }
    feed.set { $0.phase = .ready }  // nothing new: no revision, no call
    #expect(calls.withLock { $0 } == 5 && feed.revision == begin + 5)
    let news = try #require(feed.news(after: begin, for: .default, limit: 10))
    #expect(
      news.topics.map(\.name) == ["a", "b"] && news.status?.phase == .ready && news.revision == begin + 5)
    let first = try #require(feed.news(after: begin, for: .default, limit: 1))
    #expect(first.topics.map(\.name) == ["a"] && first.hasMore && first.revision == begin + 1)
    let other = try #require(feed.news(after: begin, for: TenantName(rawValue: "x"), limit: 10))
    #expect(other.topics.isEmpty && other.revision == begin + 5)
    change("c")
    #expect(feed.news(after: begin, for: .default, limit: 10) == nil)
    #expect(feed.news(after: begin + 7, for: .default, limit: 10) == nil)
    feed.unwatch(watcher)
    change("d")
    #expect(calls.withLock { $0 } == 6)
  }

  // MARK: Drain

  @Test func aDrainIsOrderedOnceAndTold() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let (stream, _) = try await StreamTests.open(connection)
    let watch = try await WatchClient.open(ClusterMethod.watch, on: connection)
    try await watch.send(WatchClusterRequest())
    _ = try await next(watch)
    func drain(_ id: Int32) async throws -> DrainBrokerResponse {
      try await connection.call(ClusterMethod.drain, DrainBrokerRequest(brokerID: id, reason: "test"))
    }
    let wrong = await fault { _ = try await drain(7) }
    #expect(wrong?.reason == .invalidRequest && wrong?.metadata["broker_id"] == "1")
    #expect(test.drains == 0)

    let first = try await drain(1)
    #expect(first.openStreams == 2 && !first.alreadyDraining && first.deadlineMs == 2_000)
    #expect(test.drains == 1)
    let second = try await drain(1)
    #expect(second.alreadyDraining && test.drains == 1)
    // Who asks how it is still gets an answer; who wants work is told to go elsewhere.
    let answer = try await health(connection)
    #expect(answer.phase == .draining && answer.problems.map(\.reason) == ["DRAINING"])
    let refused = await fault { try await create(connection, "late") }
    #expect(refused?.reason == .draining)
    #expect(try await next(watch).status?.phase == .draining)
    async let stopped: Void = test.stop()
    #expect(try await next(watch).goAway?.reason == "draining")
    #expect(try await watch.status().code == .ok)
    #expect(try await stream.next()?.goAway?.resume == true)
    await stopped
    await connection.close()
    try? FileManager.default.removeItem(at: test.folder)
  }

  // MARK: Accepting a loss

  @Test func acceptedLossServesWhatIsIntact() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let records = (0..<6).map { Record(value: SharedBytes([UInt8](repeating: UInt8($0), count: 2_000))) }
    for record in records {
      let _: PublishResponse = try await connection.call(
        ProducerMethod.publish, PublishRequest(topic: "t", records: [record]))
    }
    await connection.close()
    await test.stop()
    // A byte in the third batch goes wrong on the disk.
    let topics = test.folder.appendingPathComponent("data/log/topics")
    let files = try #require(FileManager.default.enumerator(at: topics, includingPropertiesForKeys: nil))
    let segment = try #require(
      files.compactMap { $0 as? URL }.first { (try? Data(contentsOf: $0))?.count ?? 0 > 12_000 })
    var bytes = try Data(contentsOf: segment)
    let place = try #require(bytes.range(of: Data(repeating: 2, count: 1_000))?.lowerBound)
    bytes[place + 10] ^= 0xff
    try bytes.write(to: segment)

    let again = try await TestBroker.start(folder: test.folder, identities: test.issuer)
    let second = try await again.connect()
    func fetch(_ offset: Int64) async throws -> PartitionRecords {
      let response: FetchResponse = try await second.call(
        ConsumerMethod.fetch,
        FetchRequest(partitions: [FetchPartition(topic: "t", partition: 0, offset: offset)], decoded: true))
      return try #require(response.partitions.first)
    }
    func accept(_ partitions: [Int32], dryRun: Bool = false) async throws -> [AcceptLossResult] {
      let response: AcceptLossResponse = try await second.call(
        ClusterMethod.acceptLoss, AcceptLossRequest(topic: "t", partitions: partitions, dryRun: dryRun))
      return response.partitions
    }
    let served = try await accept([0, 7])
    #expect(served.map { $0.error.map { Fault($0).reason } } == [.partitionOnline, .partitionNotFound])

    // The reader finds it, and the partition is offline from then on.
    var found: Fault?
    for offset in Int64(0)..<6 where found == nil { found = try await fetch(offset).error.map { Fault($0) } }
    #expect(found?.reason == .dataCorrupt)
    let sick = try await health(second)
    #expect(sick.status == .degraded && sick.offlinePartitionCount == 1)
    #expect(sick.offlinePartitions.first?.topic == "t" && sick.problems.first?.reason == "DATA_CORRUPT")
    let described: DescribeTopicResponse = try await second.call(
      TopicsMethod.describe, DescribeTopicRequest(name: "t"))
    #expect(described.partitions.first?.state == .offline)

    let trial = try #require(try await accept([0], dryRun: true).first)
    #expect(!trial.damage.isEmpty && trial.state == .offline && trial.logEndOffset == 6)
    #expect(try await health(second).status == .degraded)
    let done = try #require(try await accept([0]).first)
    #expect(done.error == nil && done.state == .online && done.sizeBytes < done.sizeBytesBefore)
    #expect(try await health(second).status == .ok)

    var kept: [Int64] = []
    var offset: Int64 = 0
    while offset < 6 {
      let part = try await fetch(offset)
      #expect(part.error == nil)
      kept += part.records.map(\.offset)
      offset = max(part.nextOffset, offset + 1)
    }
    #expect(kept == [0, 1, 3, 4, 5])
    let empty = await fault { _ = try await accept([]) }
    #expect(empty?.reason == .invalidRequest)
    await second.close()
    await again.remove()
  }
}
