import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

/// How `consume` prints a record.
enum RecordFormatter {
  enum Style: String, ExpressibleByArgument, CaseIterable {
    /// The value's bytes as they are, and a newline.
    case value
    /// Key, tab, value.
    case keyValue = "key-value"
    /// One JSON object a line; bytes that are not UTF-8 stand in base64 under `…_base64`.
    case json

    func write(_ record: RecordView, of batch: RecordBatch, to output: inout OutputBuffer) throws {
      switch self {
      case .value:
        if let value = record.value { try output.append(value) }
      case .keyValue:
        if let key = record.key { try output.append(key) }
        output.append(0x09)
        if let value = record.value { try output.append(value) }
      case .json: try output.append(RecordFormatter.json(record, batch).text)
      }
      output.append(0x0a)
    }
  }

  static func json(_ record: RecordView, _ batch: RecordBatch) -> JSON {
    var fields: [(String, JSON)] = [
      ("topic", .string(batch.topic)), ("partition", .int(Int64(batch.partition))),
      ("offset", .int(record.offset)), ("timestamp_ms", .int(record.timestamp)),
      bytes("key", record.key), bytes("value", record.value),
    ]
    if !record.headers.isEmpty {
      fields.append(
        (
          "headers",
          .array(
            record.headers.map { header in
              .object([("name", .string(header.nameText)), bytes("value", header.value)])
            })
        ))
    }
    return .object(fields)
  }

  private static func bytes(_ name: String, _ bytes: UnsafeRawBufferPointer?) -> (String, JSON) {
    guard let bytes else { return (name, .null) }
    if let text = String(validating: bytes, as: UTF8.self) { return (name, .string(text)) }
    return (name + "_base64", .string(Data(bytes).base64EncodedString()))
  }
}
