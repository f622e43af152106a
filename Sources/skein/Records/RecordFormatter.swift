import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

/// How `consume` and `topic tail` print records.
struct RecordFormatter {
  enum Style: Sendable, Equatable {
    /// The value, and a newline.
    case value
    /// Key, separator, value.
    case keyValue
    /// One JSON object a line; bytes that are not UTF-8 stand in base64 under `…_base64`.
    case json
    case template(RecordTemplate)
  }

  let style: Style
  let encoding: TextEncoding
  let keySeparator: [UInt8]

  func write(_ record: RecordView, of batch: RecordBatch, to output: inout OutputBuffer) throws {
    switch style {
    case .value:
      if let value = record.value { try encoding.write(value, to: &output) }
    case .keyValue:
      if let key = record.key { try encoding.write(key, to: &output) }
      for byte in keySeparator { output.append(byte) }
      if let value = record.value { try encoding.write(value, to: &output) }
    case .json: try output.append(Self.json(record, batch).text)
    case .template(let template): return try template.write(record, batch, encoding, to: &output)
    }
    output.append(0x0a)
  }

  static func json(_ record: RecordView, _ batch: RecordBatch) -> JSON {
    var fields: [(String, JSON)] = [
      ("topic", .string(batch.topic)), ("partition", .int(Int64(batch.partition))),
      ("offset", .int(record.offset)), ("timestamp_ms", .int(record.timestamp)),
      bytes("key", record.key), bytes("value", record.value),
    ]
    if !record.headers.isEmpty { fields.append(("headers", headers(record))) }
    return .object(fields)
  }

  static func headers(_ record: RecordView) -> JSON {
    .array(
      record.headers.map { header in
        .object([("name", .string(header.nameText)), bytes("value", header.value)])
      })
  }

  private static func bytes(_ name: String, _ bytes: UnsafeRawBufferPointer?) -> (String, JSON) {
    guard let bytes else { return (name, .null) }
    if let text = String(validating: bytes, as: UTF8.self) { return (name, .string(text)) }
    return (name + "_base64", .string(Data(bytes).base64EncodedString()))
  }
}

/// The options that choose a form.
struct RecordFormatOptions: ParsableArguments {
  enum Format: String, ExpressibleByArgument, CaseIterable {
    case value
    case keyValue = "key-value"
    case json

    init?(argument: String) { self.init(rawValue: argument == "text" ? "value" : argument) }
  }

  @Option(help: "value (also: text), key-value or json.") var format: Format?
  @Option(help: "text, hex or base64, of keys and values (json: always text, or base64 where it is none).")
  var encoding = TextEncoding.text
  @Option(
    help: ArgumentHelp("Between key and value with key-value; \\t is a tab (default).", valueName: "text"))
  var keySeparator = "\\t"
  @Option(
    help: ArgumentHelp(
      "A form of your own: %t topic, %p partition, %o offset, %k key, %v value, %T milliseconds since 1970, %I time, %h headers as JSON, %% and \\n \\t \\\\.",
      valueName: "text"))
  var template: String?

  /// - Parameter standard: without `--format` and `--template`; nil lets the caller choose.
  func formatter(standard: RecordFormatter.Style) throws -> RecordFormatter {
    var style = standard
    switch format {
    case .value: style = .value
    case .keyValue: style = .keyValue
    case .json: style = .json
    case nil: break
    }
    if let template {
      guard format == nil else { throw UsageError("give --format or --template, not both") }
      style = .template(try RecordTemplate(template))
    }
    return RecordFormatter(
      style: style, encoding: encoding, keySeparator: Array(RecordTemplate.unescaped(keySeparator).utf8))
  }
}
