import Foundation
import GroupCoordination
import NIOCore
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// A broker with a topic "t" for tests of groups.
struct GroupFixture {
  let test: TestBroker
  let connection: GRPCConnection

  static func start(
    partitions: Int32 = 4, settings: [String: String] = [:],
    _ configure: (inout BrokerConfiguration) -> Void = { _ in }
  ) async throws -> GroupFixture {
    let test = try await TestBroker.start(configure: configure)
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: partitions, settings: settings))
    return GroupFixture(test: test, connection: connection)
  }

  /// Records "p-offset" for every partition.
  func publish(_ count: Int, to partitions: Range<Int32>, first: Int = 0) async throws {
    for partition in partitions {
      let records = (0..<count).map { number in
        Record(
          value: SharedBytes(Array("\(partition)-\(first + number)".utf8)), partition: partition)
      }
      let response: PublishResponse = try await connection.call(
        ProducerMethod.publish, PublishRequest(topic: "t", records: records))
      #expect(response.results.allSatisfy { $0.error == nil })
    }
  }

  /// One batch for each record, so that credits can be seen.
  func publishSingly(_ count: Int, to partition: Int32 = 0) async throws {
    let (stream, _) = try await StreamTests.open(connection)
    for number in 0..<count {
      try await stream.send(
        PublishStreamRequest(
          target: StreamTests.target(UInt64(number + 1), partition: partition),
          batch: try StreamTests.batch(1, first: number)))
    }
    #expect(try await StreamTests.acks(stream, count).count == count)
    try await stream.sendEnd()
  }

  /// What the group has committed, by partition.
  func committed(group: String = "g") async throws -> [Int32: Int64] {
    let key = GroupKey(tenant: "default", name: group)
    guard
      case .offsets(let offsets) = try await test.broker.context.groups.ask(
        .fetchOffsets(.init(group: key)), of: key)
    else { return [:] }
    var found: [Int32: Int64] = [:]
    for (partition, offset) in offsets { found[partition.partition] = offset.offset.rawValue }
    return found
  }

  func description(group: String = "g") async throws -> GroupDescription? {
    let key = GroupKey(tenant: "default", name: group)
    guard
      case .description(let description) = try await test.broker.context.groups.ask(.describe(key), of: key)
    else {
      return nil
    }
    return description
  }

  func end() async {
    await connection.close()
    await test.remove()
  }
}
