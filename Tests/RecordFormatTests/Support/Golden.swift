import Foundation
import RecordFormat
import SkeinCore

/// A golden file: bytes that kafka-python wrote, and what its own parser says about them.
struct Golden: Codable {
  struct Record: Codable, Equatable {
    var offset: Int64
    var timestamp: Int64
    var key: String?
    var value: String?
    /// Pairs of name and value, in hexadecimal.
    var headers: [[String?]]
  }

  struct Batch: Codable {
    var base_offset: Int64
    var size: Int
    var leader_epoch: Int32
    var crc: UInt32
    var attributes: Int16
    var last_offset_delta: Int32
    var base_timestamp: Int64
    var max_timestamp: Int64
    var producer_id: Int64
    var producer_epoch: Int16
    var base_sequence: Int32
    var last_sequence: Int32
    var next_offset: Int64
    var count: Int32
    var control: Bool
    var transactional: Bool
    var codec: Int16
    var records: [Record]
  }

  var origin: String
  var batches: [Batch]

  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Golden")

  /// Every golden of batches, by name.
  static let names = [
    "append-time", "control", "gzip", "gzip-headers", "headers", "idempotent", "lengths", "lz4",
    "lz4-headers", "lz4-linked", "many", "nulls", "run", "single", "snappy-headers", "snappy-raw",
    "snappy-xerial", "timestamps", "transactional", "zstd", "zstd-headers",
  ]
  /// Those of one batch that a producer may send.
  static let producible = names.filter {
    !["append-time", "control", "run", "transactional"].contains($0)
  }

  static func expectation(_ name: String) throws -> Golden {
    try JSONDecoder().decode(
      Golden.self, from: Data(contentsOf: folder.appendingPathComponent(name + ".json")))
  }

  static func bytes(_ name: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: folder.appendingPathComponent(name + ".bin")))
  }

  /// The batches of a golden, one by one.
  static func batches(_ name: String) throws -> [[UInt8]] {
    let all = try bytes(name)
    return try all.withUnsafeBytes { run in
      var splitter = BatchSplitter(run)
      var found: [[UInt8]] = []
      while let batch = try splitter.next() { found.append(Array(run[batch.range])) }
      return found
    }
  }
}

extension Golden.Record {
  init(_ record: RecordView) {
    offset = record.offset
    timestamp = record.timestamp
    key = record.key.map { Hex.string($0) }
    value = record.value.map { Hex.string($0) }
    headers = record.headers.map { [Hex.string($0.name), $0.value.map { Hex.string($0) }] }
  }
}

/// The bytes of lower-case hexadecimal text.
func unhexed(_ text: String) -> [UInt8] {
  let digits = Array(text.utf8)
  return stride(from: 0, to: digits.count, by: 2).map {
    UInt8(Hex.parse(digits[$0..<$0 + 2]) ?? 0)
  }
}
