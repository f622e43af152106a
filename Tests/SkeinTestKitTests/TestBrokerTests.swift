import Foundation
import SkeinClient
import SkeinTestKit
import Testing

/// The kit itself: as a user's test uses it.
@Suite(.timeLimit(.minutes(1))) struct TestBrokerTests {
  @Test func oneLineGivesABrokerThatStoresAndServes() async throws {
    let broker = try await TestBroker.start()
    let client = try broker.client()
    try await client.admin.createTopic("orders", partitions: 2)
    let producer = try await client.producer()
    let place = try await producer.send(to: "orders", key: [1], value: [2, 3])
    #expect(place.offset == 0)
    try await producer.close()
    #expect(try await readAll(client, "orders").map(\.value) == [[2, 3]])
    await client.close()
    await broker.close()
    #expect(!FileManager.default.fileExists(atPath: broker.folder))
    await #expect(throws: SkeinError.self) { try await broker.restart() }
  }

  @Test(arguments: [true, false])
  func aProducerOutlivesARestartAndAKill(_ isKill: Bool) async throws {
    try await TestBroker.run { broker, client in
      try await client.admin.createTopic("t", partitions: 2)
      var configuration = ProducerConfiguration()
      configuration.linger = .milliseconds(1)
      configuration.batchBytes = 1000
      let producer = try await client.producer(configuration)
      let topic = try await producer.topic("t")
      let sending = Task {
        for n in 0..<2000 {
          try await topic.append(key: [UInt8(n % 5)], value: Array("\(n)".utf8))
          if n % 40 == 0 { try await Task.sleep(for: .milliseconds(2)) }
        }
        try await producer.close()
      }
      // Something is acknowledged, much is under way.
      _ = try await topic.send(key: [0], value: Array("-1".utf8))
      let address = broker.address
      if isKill { await broker.kill() } else { await broker.stop() }
      try await broker.restart()
      #expect(broker.address == address)
      try await sending.value
      let found = try await readAll(client, "t")
      #expect(found.count == 2001)
      for key in 0..<5 {
        let numbers = found.filter { $0.key == [UInt8(key)] }
          .compactMap { Int(String(decoding: $0.value ?? [], as: UTF8.self)) }.filter { $0 >= 0 }
        #expect(numbers == Array(stride(from: key, to: 2000, by: 5)))
      }
    }
  }

  /// A clean stop leaves a mark in the log's folder, a killed broker does not.
  @Test func aKillLeavesTheLogUnclosed() async throws {
    let broker = try await TestBroker.start()
    let mark = broker.folder + "/data/log/clean"
    await broker.stop()
    #expect(FileManager.default.fileExists(atPath: mark))
    try await broker.restart()
    #expect(!FileManager.default.fileExists(atPath: mark))
    await broker.kill()
    #expect(!FileManager.default.fileExists(atPath: mark))
    await broker.close()
  }

  @Test func principalsAreWhomTheirCertificatesName() async throws {
    try await TestBroker.run { broker, _ in
      let client = try broker.client(principal: "billing")
      let cluster = try await client.admin.describeCluster()
      #expect(cluster.principal == "billing" && cluster.tenant == "default")
      await client.close()
      #expect(throws: SkeinError.self) { try broker.identity(principal: "a,URI:skein:x/y") }
    }
  }

  /// The scope ends the broker also when its body throws.
  @Test func aScopeCleansUpAfterAnError() async throws {
    struct Wanted: Error, Equatable { let folder: String }
    var folder = ""
    do {
      try await TestBroker.run { broker, _ in throw Wanted(folder: broker.folder) }
    } catch let error as Wanted { folder = error.folder }
    #expect(!folder.isEmpty && !FileManager.default.fileExists(atPath: folder))
  }
}
