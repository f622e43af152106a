import RecordFormat
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// Provokes the reasons that no other suite meets; ReasonEvidenceTests says which test has which.
@Suite(.serialized) struct ReasonTests {
  /// What the transport refuses by itself has a reason of the catalogue, whichever it is.
  @Test func everyCauseOfTheTransportIsExplained() {
    let expected: [(GRPCStatus.Cause, Reason)] = [
      (.messageTooLarge(limit: 5), .messageTooLarge), (.noMemory, .overloaded),
      (.methodUnknown, .methodUnknown),
      (.encodingUnsupported, .encodingUnsupported), (.malformedFraming, .framingInvalid),
      (.malformedRequest(header: "grpc-timeout"), .invalidRequest), (.deadlinePassed, .deadlineExceeded),
      (.peerTooSlow, .clientTooSlow), (.credentialInvalid, .tokenInvalid),
      (.authenticatorUnavailable, .authenticatorUnavailable),
    ]
    for (cause, reason) in expected {
      let status = GRPCStatus.explained(GRPCStatus(.unknown, "why", cause: cause))
      let fault = Fault(statusMessage: status.details, code: status.code, message: status.message)
      #expect(fault.reason == reason && fault.message == "why" && status.code == reason.code)
    }
  }

  @Test func phasesHaveTheirRefusal() {
    #expect(Router.refusal(in: .ready) == nil)
    #expect(Router.refusal(in: .starting)?.reason == .notReady)
    #expect(Router.refusal(in: .draining)?.reason == .draining)
    #expect(Router.refusal(in: .failed)?.reason == .draining)
  }

  @Test func anUnknownServiceHasNoHealth() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let refused = await fault {
      let _: HealthCheckResponse = try await connection.call(
        HealthMethod.check, HealthCheckRequest(service: "skein.v1.Moon"))
    }
    #expect(refused?.reason == .serviceUnknown)
    await connection.close()
    await test.remove()
  }

  /// P3: an older epoch of the same producer has been replaced.
  @Test func anOlderEpochIsFenced() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let (stream, opened) = try await StreamTests.open(connection)
    let id = opened.producerID
    var reasons: [Reason?] = []
    for (request, epoch) in [(UInt64(1), Int16(1)), (2, 0)] {
      try await stream.send(
        PublishStreamRequest(
          target: StreamTests.target(request),
          batch: try StreamTests.batch(1, producer: id, epoch: epoch, sequence: 0)))
      let ack = try #require(try await StreamTests.acks(stream, 1).first)
      reasons.append(ack.error.map { Fault($0).reason })
    }
    #expect(reasons == [nil, .producerFenced])
    try await stream.cancel()
    await connection.close()
    await test.remove()
  }

  /// Only who asks for decoded records meets what does not decode, and goes on behind it.
  @Test func whatDoesNotInflateIsToldWithTheWayOn() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let (stream, _) = try await StreamTests.open(connection)
    for codec in [Codec.gzip, .snappy, .lz4, .zstd] {
      var rubbish = try StreamTests.batch(2, size: 100).array
      rubbish[22] = UInt8(codec.rawValue)
      let crc = rubbish.withUnsafeBytes { CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[21...])) }
      withUnsafeBytes(of: crc.bigEndian) { rubbish.replaceSubrange(17..<21, with: $0) }
      try await stream.send(
        PublishStreamRequest(target: StreamTests.target(UInt64(codec.rawValue)), batch: SharedBytes(rubbish)))
      let ack = try #require(try await StreamTests.acks(stream, 1).first)
      #expect(ack.error == nil)
      let fetched: FetchResponse = try await connection.call(
        ConsumerMethod.fetch,
        FetchRequest(
          partitions: [FetchPartition(topic: "t", partition: 0, offset: ack.baseOffset)], decoded: true))
      let part = try #require(fetched.partitions.first)
      #expect(part.error.map { Fault($0).reason } == .batchUndecodable, "\(codec)")
      #expect(part.nextOffset == ack.baseOffset + 2)
    }
    try await stream.cancel()
    await connection.close()
    await test.remove()
  }

  /// Each writable codec of `compression.type` is what Publish stores, and reads back.
  @Test func publishCompressesAsTheTopicSays() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let records = (0..<20).map { _ in Record(value: SharedBytes([UInt8](repeating: 7, count: 400))) }
    let wanted: [(String, Codec)] = [
      ("gzip", .gzip), ("lz4", .lz4), ("zstd", .zstd), ("none", .none), ("producer", .none),
    ]
    for (name, codec) in wanted {
      let _: UpdateTopicResponse = try await connection.call(
        TopicsMethod.update, UpdateTopicRequest(name: "t", set: ["compression.type": name]))
      let published: PublishResponse = try await connection.call(
        ProducerMethod.publish, PublishRequest(topic: "t", records: records))
      let offset = try #require(published.results.first?.offset)
      for decoded in [false, true] {
        let fetched: FetchResponse = try await connection.call(
          ConsumerMethod.fetch,
          FetchRequest(
            partitions: [FetchPartition(topic: "t", partition: 0, offset: offset)], decoded: decoded))
        let part = try #require(fetched.partitions.first)
        if decoded {
          #expect(part.records.count == 20 && part.records.allSatisfy { $0.value?.count == 400 })
        } else {
          let bytes = part.batches.parts.flatMap(\.array)
          let header = try bytes.withUnsafeBytes { try BatchHeader(parsing: $0) }
          #expect(header.codec == codec, "\(name)")
        }
      }
    }
    await connection.close()
    await test.remove()
  }
}
