import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

/// From a line of input to a record.
struct RecordLine {
  enum Format: String, ExpressibleByArgument, CaseIterable {
    /// The line is the value; with a separator, what stands before it is the key.
    case value
    /// The same with a tab where no separator is given.
    case keyValue = "key-value"
    /// One JSON object a line, as `consume --format json` prints it.
    case json

    init?(argument: String) { self.init(rawValue: argument == "text" ? "value" : argument) }
  }

  var format = Format.value
  var encoding = TextEncoding.text
  /// Between key and value; nil: no keys in the lines.
  var separator: [UInt8]?
  /// For every record whose line has no key.
  var key: [UInt8]?
  /// A value equal to this text is a null: it deletes the key where topics are compacted.
  var nullMarker: [UInt8]?
  /// For every record, before its own.
  var headers = RecordHeaders()
  var partition: Int32?
  /// Take `partition` of JSON lines as well.
  var keepsPartition = false

  /// One record; pointers are valid inside the closure that gets it.
  struct Parsed {
    var key: UnsafeRawBufferPointer?
    var value: UnsafeRawBufferPointer?
    var headers: RecordHeaders
    var timestamp: Int64?
    var partition: Int32?
  }

  /// Calls `body` with the record of a line; a plain line is not copied.
  /// - Throws: `LocalFailure` without the line's number, which the caller knows.
  func withRecord<R>(_ line: UnsafeRawBufferPointer, _ body: (Parsed) throws -> R) throws -> R {
    if format == .json { return try withJSON(line, body) }
    let (lineKey, lineValue) = LineSplitter.split(line, separator)
    let isNull = nullMarker.map { lineValue.elementsEqual($0) } ?? false
    guard encoding == .text else {
      return try withBytes(
        try lineKey.map(encoding.decode) ?? key, isNull ? nil : try encoding.decode(lineValue)
      ) { try body(Parsed(key: $0, value: $1, headers: headers, partition: partition)) }
    }
    guard lineKey == nil, let key else {
      return try body(
        Parsed(key: lineKey, value: isNull ? nil : lineValue, headers: headers, partition: partition))
    }
    return try key.withUnsafeBytes {
      try body(Parsed(key: $0, value: isNull ? nil : lineValue, headers: headers, partition: partition))
    }
  }

  private func withBytes<R>(
    _ key: [UInt8]?, _ value: [UInt8]?,
    _ body: (UnsafeRawBufferPointer?, UnsafeRawBufferPointer?) throws -> R
  ) throws -> R {
    // One more byte each gives empty ones an address: an empty value is not a null.
    try ((key ?? []) + [0]).withUnsafeBytes { keyBytes in
      try ((value ?? []) + [0]).withUnsafeBytes { valueBytes in
        try body(
          key == nil ? nil : UnsafeRawBufferPointer(rebasing: keyBytes.dropLast()),
          value == nil ? nil : UnsafeRawBufferPointer(rebasing: valueBytes.dropLast()))
      }
    }
  }

  // MARK: JSON

  private static let fields: Set<String> = [
    "key", "key_base64", "value", "value_base64", "headers", "timestamp_ms", "partition",
    // Printed by `consume`, decided anew here.
    "topic", "offset",
  ]

  private func withJSON<R>(_ line: UnsafeRawBufferPointer, _ body: (Parsed) throws -> R) throws -> R {
    let object: [String: Any]
    do {
      guard let read = try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any] else {
        throw LocalFailure("not a JSON object")
      }
      object = read
    } catch let error as LocalFailure { throw error } catch { throw LocalFailure("not JSON") }
    if let unknown = object.keys.filter({ !Self.fields.contains($0) }).min() {
      throw LocalFailure(
        "unknown field \"\(unknown.displayable)\"\(NearestWord.hint(for: unknown, in: Self.fields.sorted())); there are \(Self.fields.sorted().joined(separator: ", "))"
      )
    }
    var all = headers
    for (name, value) in try Self.headers(object["headers"]) {
      do { try all.append(name: name, value: value) } catch {
        throw LocalFailure("header \(name.displayable): \(error.fault.message)")
      }
    }
    let stamp = try Self.integer(object, "timestamp_ms")
    let place = keepsPartition ? try Self.integer(object, "partition") : nil
    return try withBytes(try Self.bytes(object, "key") ?? key, try Self.bytes(object, "value")) {
      try body(
        Parsed(
          key: $0, value: $1, headers: all, timestamp: stamp,
          partition: place.map { Int32(clamping: $0) } ?? partition))
    }
  }

  /// A text's UTF-8, or the base64 beside it; any other JSON value stands for its own text.
  private static func bytes(_ object: [String: Any], _ name: String) throws -> [UInt8]? {
    if let encoded = object[name + "_base64"] {
      guard object[name] == nil, let text = encoded as? String, let data = Data(base64Encoded: text) else {
        throw LocalFailure("\(name)_base64 must be a base64 text, and stands instead of \(name)")
      }
      return Array(data)
    }
    switch object[name] {
    case nil, is NSNull: return nil
    case let text as String: return Array(text.utf8)
    case let other?:
      return Array(
        try JSONSerialization.data(
          withJSONObject: other, options: [.fragmentsAllowed, .sortedKeys, .withoutEscapingSlashes]))
    }
  }

  private static func integer(_ object: [String: Any], _ name: String) throws -> Int64? {
    guard let value = object[name], !(value is NSNull) else { return nil }
    guard let number = value as? NSNumber, let exact = Int64(exactly: number.doubleValue), exact >= 0 else {
      throw LocalFailure("\(name) must be a whole number, not negative")
    }
    return number.int64Value
  }

  /// `[{"name": …, "value": …}]`, or an object of texts.
  private static func headers(_ value: Any?) throws -> [(String, [UInt8]?)] {
    switch value {
    case nil, is NSNull: return []
    case let list as [[String: Any]]:
      return try list.map { entry in
        guard let name = entry["name"] as? String else { throw LocalFailure("a header has no name") }
        return (name, try bytes(entry, "value"))
      }
    case let object as [String: Any]:
      return try object.sorted { $0.key < $1.key }.map { name, _ in (name, try bytes(object, name)) }
    default: throw LocalFailure("headers must be a list of {name, value}, or an object")
    }
  }
}

/// A line into key and value, at the first separator.
enum LineSplitter {
  static func split(
    _ line: UnsafeRawBufferPointer, _ separator: [UInt8]?
  ) -> (key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer) {
    guard let separator, let place = find(separator, in: line) else { return (nil, line) }
    return (
      UnsafeRawBufferPointer(rebasing: line[..<place]),
      UnsafeRawBufferPointer(rebasing: line[(place + separator.count)...])
    )
  }

  private static func find(_ needle: [UInt8], in line: UnsafeRawBufferPointer) -> Int? {
    guard let base = line.baseAddress, let first = needle.first else { return nil }
    var at = 0
    while line.count - at >= needle.count {
      guard let hit = memchr(base + at, Int32(first), line.count - at - needle.count + 1) else { return nil }
      at = UnsafeRawPointer(hit) - base
      if memcmp(base + at, needle, needle.count) == 0 { return at }
      at += 1
    }
    return nil
  }
}
