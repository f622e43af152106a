@testable import Broker
import CommitLog
import NIOCore
import NIOEmbedded
import RecordFormat
import Simulation
import SkeinCore
import Testing

/// One partition's decisions, without connections.
@Suite struct PartitionHostTests {
  private final class Nobody: AppendReceiver {
    let eventLoop: any EventLoop = EmbeddedEventLoop()
    func received(_ answer: AppendAnswer) {}
    func flushAnswers() {}
  }

  /// Requests carry the generation that their connection's loop knew. A copy from a lost stream that arrives
  /// after another was refused by a newer generation must not be appended: its records were placed anew.
  @Test func aLateCopyIsHeldAgainstTheNewestGeneration() throws {
    var configuration = LogConfiguration(clusterID: "test")
    configuration.reserveBytes = 1 << 20
    configuration.emergencyBytes = 64 << 10
    let directory = try LogDirectory.open(
      disk: SimulatedDisk(seed: 1), configuration: configuration, time: SimulatedTime(),
      random: SeededRandom(seed: 1))
    let host = PartitionHost(
      log: directory.createPartition(
        TopicPartition(topic: TopicID(high: 1, low: 1), partition: 0), settings: PartitionSettings()))
    func isAppended(sequence: Int32, generation: UInt32, known: UInt32) throws -> Bool {
      var builder = BatchBuilder()
      try builder.append(key: nil, value: [1], timestamp: 1_700_000_000_000)
      let batch = try builder.finish(producerID: 7, producerEpoch: 0, baseSequence: sequence)
      let header = try batch.withUnsafeBytes { try BatchHeader(parsing: $0) }
      var answers = ShardOutbox()
      return host.append(
        AppendRequest(
          batch: batch, header: header, generation: generation, currentGeneration: known,
          waitsForCommit: true,
          receivedAt: 0, receiver: Nobody(), tag: 0), at: 0, answers: &answers) != nil
    }
    #expect(try isAppended(sequence: 0, generation: 1, known: 1))
    #expect(try !isAppended(sequence: 1, generation: 1, known: 2))
    #expect(try !isAppended(sequence: 1, generation: 1, known: 1))
    #expect(try isAppended(sequence: 1, generation: 2, known: 2))
    directory.abandon()
  }
}
