import CommitLog
import NIOCore
import NIOPosix
import RecordFormat
import Simulation
import SkeinCore
import Synchronization
import Testing

@testable import Broker

/// The fence on one partition: nothing of the old generation is taken, and nobody is told that it is over
/// before all of it is on disk.
@Suite struct FenceTests {
  /// `@unchecked Sendable`: one test's task uses it.
  private final class Receiver: AppendReceiver, @unchecked Sendable {
    let eventLoop: any EventLoop
    private(set) var answers: [AppendAnswer] = []
    init(_ loop: any EventLoop) { eventLoop = loop }
    func received(_ answer: AppendAnswer) { answers.append(answer) }
    func flushAnswers() {}
    /// The reason of the last answer; nil for a success.
    func last() -> Reason? {
      guard case .refused(let fault) = answers.last?.result else { return nil }
      return fault.reason
    }
  }

  private struct Rig {
    /// Only compared: everything here runs on the test's task.
    let loop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()
    let directory: LogDirectory
    let host: PartitionHost
    let receiver: Receiver

    init() throws {
      var configuration = LogConfiguration(clusterID: "test")
      configuration.reserveBytes = 1 << 20
      configuration.emergencyBytes = 64 << 10
      directory = try LogDirectory.open(
        disk: SimulatedDisk(seed: 3), configuration: configuration, time: SimulatedTime(),
        random: SeededRandom(seed: 3))
      host = PartitionHost(
        log: directory.createPartition(
          TopicPartition(topic: TopicID(high: 1, low: 1), partition: 0), settings: PartitionSettings()))
      receiver = Receiver(loop)
      // The partition's own creation.
      _ = try directory.flushStep()
    }

    /// True when it was appended; it is not durable before `flush`.
    func append(_ sequence: Int32, generation: UInt32, known: UInt32, producer: Int64 = 7) throws -> Bool {
      var builder = BatchBuilder()
      try builder.append(key: nil, value: [1], timestamp: 1_700_000_000_000)
      let idempotent = producer >= 0
      let batch = try builder.finish(
        producerID: producer, producerEpoch: idempotent ? 0 : -1, baseSequence: idempotent ? sequence : -1)
      let header = try batch.withUnsafeBytes { try BatchHeader(parsing: $0) }
      var answers = ShardOutbox()
      let entry = host.append(
        AppendRequest(
          batch: batch, header: header, generation: generation, currentGeneration: known,
          waitsForCommit: true, receivedAt: 0, receiver: receiver, tag: UInt64(sequence)), at: 0,
        answers: &answers)
      if let entry { directory.submit([entry]) }
      answers.flush(on: loop)
      return entry != nil
    }

    func flush() throws {
      var answers = ShardOutbox()
      for advance in try directory.flushStep() { host.apply(advance, answers: &answers) }
      answers.flush(on: loop)
    }
  }

  @Test func nothingOldIsTakenAndNothingNewBeforeAllOldIsDurable() async throws {
    let rig = try Rig()
    #expect(try rig.append(0, generation: 1, known: 1) && rig.append(1, generation: 1, known: 1))
    let ticket = FenceTicket(partitions: 1)
    #expect(rig.host.fence(1, ticket) == Offset(2))
    let waiting = Task { try await ticket.wait() }
    // Definite, and no sequence is consumed; what was taken before is a duplicate still, answered when durable.
    #expect(try !rig.append(2, generation: 1, known: 1))
    #expect(rig.receiver.last() == .swapInProgress)
    let answered = rig.receiver.answers.count
    #expect(try !rig.append(1, generation: 1, known: 1))
    #expect(rig.receiver.answers.count == answered)
    // No partitioner placed it: it goes on, behind the cut.
    #expect(try rig.append(0, generation: 0, known: 1, producer: -1))
    #expect(!ticket.isOver)
    try rig.flush()
    #expect(ticket.isOver)
    try await waiting.value
    guard case .committed(let base, true, _)? = rig.receiver.answers.last(where: { $0.tag == 1 })?.result
    else {
      Issue.record("the duplicate was not answered")
      return
    }
    #expect(base == Offset(1))

    // Committed: the next generation begins at or behind the cut, and the old one is over for good.
    #expect(try !rig.append(2, generation: 2, known: 1))
    #expect(rig.receiver.last() == .overloaded)
    #expect(rig.host.flip(to: 2) == Offset(3))
    #expect(try !rig.append(2, generation: 1, known: 1))
    #expect(rig.receiver.last() == .partitionerChanged)
    #expect(try rig.append(2, generation: 2, known: 1))
    rig.directory.abandon()
  }

  @Test func aFenceThatIsGivenUpLetsTheOldGenerationGoOn() async throws {
    let rig = try Rig()
    #expect(try rig.append(0, generation: 1, known: 1))
    let ticket = FenceTicket(partitions: 2)
    _ = rig.host.fence(1, ticket)
    try rig.flush()
    #expect(!ticket.isOver)  // the other partition
    ticket.fail(Fault(.overloaded, "too slow"))
    let refused = await fault { try await ticket.wait() }
    #expect(refused?.reason == .overloaded)
    _ = rig.host.flip(to: 1)
    #expect(try rig.append(1, generation: 1, known: 1))
    // A directory that fails ends the wait: nothing more becomes durable.
    let second = FenceTicket(partitions: 1)
    _ = rig.host.fence(1, second)
    var answers = ShardOutbox()
    rig.host.failAll(Fault(.logOffline, "gone"), answers: &answers)
    #expect(await fault { try await second.wait() }?.reason == .logOffline)
    rig.directory.abandon()
  }
}
