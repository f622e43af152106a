import SkeinCore
import Testing

@testable import Wire

/// What is written is read back equal, and the special ways in and out (slices, parts) agree with
/// the plain ones.
@Suite struct RoundTripTests {
  @Test func publishRequestKeepsPresenceAndOrder() throws {
    let request = PublishRequest(
      topic: "orders",
      records: [
        Record(key: SharedBytes([1, 2]), value: SharedBytes([3]), timestampMs: -1, partition: 0),
        Record(key: .empty, value: nil, headers: [Header(name: "h", value: .empty)]),
        Record(),
      ], acks: .leader)
    let decoded = try PublishRequest(decoding: request.encoded())
    #expect(decoded == request)
    #expect(decoded.records[0].partition == 0)
    #expect(decoded.records[1].key == .empty && decoded.records[1].value == nil)
  }

  @Test func trailingPayloadIsASliceOfTheMessage() throws {
    let batch = SharedBytes([UInt8](repeating: 7, count: 1000))
    let request = PublishStreamRequest(target: BatchTarget(requestID: 9, topic: "t"), batch: batch)
    let (head, payload) = request.encodedParts()
    #expect(payload.count == 1 && payload[0].storage === batch.storage)
    let whole = SharedBytes(head + payload[0].array)
    #expect(whole.array == request.encoded())
    let decoded = try PublishStreamRequest(decoding: whole)
    #expect(decoded == request)
    #expect(decoded.batch.storage === whole.storage)
  }
}
