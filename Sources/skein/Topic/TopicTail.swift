import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

struct TopicTail: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tail", abstract: "Show the last records of all partitions, and what comes.",
    discussion: """
      A line is: time, partition:offset, key, value. The last records stand in the
      order of their times; later ones as they come. ^C ends it.
      """)
  static let most = 10_000

  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var form: RecordFormatOptions
  @Argument(help: "The topic.", completion: .custom(DynamicNames.topics)) var topic: String
  @Option(name: [.customShort("n"), .customLong("lines")], help: "Begin with so many of the last records.")
  var lines = 10
  @Option(name: .shortAndLong, help: "This partition; repeatable (default: all).") var partition: [Int32] = []
  @Option(name: .shortAndLong, help: "Only records whose key is like this, with * and ?.") var key: String?
  @Option(
    name: .shortAndLong,
    help: ArgumentHelp(
      "Only records in whose key or value this regular expression is found.", valueName: "regex"))
  var grep: String?
  @Option(help: ArgumentHelp("Cut values after so many characters; 0 shows them whole.", valueName: "count"))
  var cut = 500
  @Flag(inversion: .prefixedNo, help: "Wait for more.") var follow = true

  func validate() throws {
    guard (0...Self.most).contains(lines) else {
      throw ValidationError("--lines must be 0 to \(Self.most), is \(lines)")
    }
    guard cut >= 0 else { throw ValidationError("--cut must not be negative, is \(cut)") }
  }

  func run() async throws {
    _ = try RecordFilter(key: key, grep: grep)
    let formatter = try form.formatter(standard: .value)
    let isPlain = form.format == nil && form.template == nil
    _ = try await Signals.cancelling {
      let filter = try RecordFilter(key: key, grep: grep)
      let line = TailLine(hasColour: Console.hasColour, cut: cut)
      try await connection.withClient { client in
        let place = try await TailPlace.find(client.admin, topic, partition, lines: lines)
        var tail = Tail(limit: lines) { record, batch, output in
          guard filter.accepts(record) else { return }
          if isPlain {
            try output.append(line.text(record, batch))
          } else {
            try formatter.write(record, of: batch, to: &output)
          }
        }
        let next = try await tail.showLast(client, topic, place)
        if follow { try await tail.showNew(client, topic, next) }
      }
    }
  }
}

/// Where the last records of a topic begin, by partition.
struct TailPlace: Sendable {
  var starts: [Int32: Int64]

  static func find(_ admin: Admin, _ topic: String, _ partitions: [Int32], lines: Int) async throws
    -> TailPlace
  {
    let first = try await admin.listOffsets(topic, partitions: partitions, at: .beginning)
    var starts: [Int32: Int64] = [:]
    for end in try await admin.listOffsets(topic, partitions: partitions, at: .end) {
      // A partition that is not served is told, and the others are shown.
      if let error = end.error {
        Console.note("skein: partition \(end.partition) is left out: \(Failure.escaped(error.message))")
        continue
      }
      let start = first.first { $0.partition == end.partition && $0.error == nil }?.offset ?? end.offset
      starts[end.partition] = max(start, end.offset - Int64(lines))
    }
    guard !starts.isEmpty else { throw LocalFailure("no partition of \(topic.displayable) can be read") }
    return TailPlace(starts: starts)
  }
}

/// Shows the last records, then new ones.
struct Tail {
  typealias Write = (RecordView, RecordBatch, inout OutputBuffer) throws -> Void

  let limit: Int
  let write: Write

  /// Reads to the end as it is now, and prints the newest `limit` records in the order of their times.
  /// - Returns: where each partition goes on.
  mutating func showLast(_ client: Client, _ topic: String, _ place: TailPlace) async throws -> [Int32: Int64]
  {
    var next = place.starts
    guard limit > 0 else { return next }
    var configuration = ReaderConfiguration()
    configuration.stopsAtEnd = true
    let reader = try await client.reader(
      topic: topic, partitions: place.starts.keys.sorted(), from: .offsets(place.starts), configuration)
    var held: [(time: Int64, text: [UInt8])] = []
    while let batch = try await reader.nextBatch() {
      try batch.forEachRecord { record in
        var output = OutputBuffer()
        try write(record, batch, &output)
        if !output.isEmpty { held.append((record.timestamp, output.take())) }
      }
      next[batch.partition] = batch.nextOffset
      if held.count > 2 * limit { held = newest(held) }
    }
    await reader.close()
    for entry in newest(held) { try Console.write(entry.text, to: STDOUT_FILENO) }
    return next
  }

  func showNew(_ client: Client, _ topic: String, _ starts: [Int32: Int64]) async throws {
    let reader = try await client.reader(
      topic: topic, partitions: starts.keys.sorted(), from: .offsets(starts))
    var output = OutputBuffer()
    while let batch = try await reader.nextBatch() {
      try batch.forEachRecord { try write($0, batch, &output) }
      try output.flush()
    }
  }

  private func newest(_ held: [(time: Int64, text: [UInt8])]) -> [(time: Int64, text: [UInt8])] {
    // Stable, so that the order of each partition stays where times are equal.
    let ordered = held.enumerated().sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }
    return ordered.suffix(limit).map(\.element)
  }
}

/// One record as a line for people: control characters are escaped.
struct TailLine {
  let hasColour: Bool
  let cut: Int

  func text(_ record: RecordView, _ batch: RecordBatch) -> String {
    let place = "\(batch.partition):\(record.offset)"
    let key = record.key.map { readable($0) } ?? "-"
    let value = record.value.map { readable($0) } ?? "(null)"
    let headers = record.headers.isEmpty ? "" : " " + RecordFormatter.headers(record).text
    return paint(Units.time(record.timestamp), 2) + " " + paint(place, 36) + " " + paint(key, 33) + " "
      + value
      + paint(headers, 2) + "\n"
  }

  private func readable(_ bytes: UnsafeRawBufferPointer) -> String {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      let shown = cut == 0 ? bytes[...] : bytes.prefix(cut)
      return "base64:" + Data(shown).base64EncodedString() + (shown.count < bytes.count ? "…" : "")
    }
    guard cut > 0, text.unicodeScalars.count > cut else { return Failure.escaped(text) }
    return Failure.escaped(String(String.UnicodeScalarView(text.unicodeScalars.prefix(cut)))) + "…"
  }

  private func paint(_ text: String, _ code: Int) -> String {
    hasColour && !text.isEmpty ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
  }
}

/// `--key` and `--grep`.
struct RecordFilter {
  private let key: String?
  private let pattern: Regex<AnyRegexOutput>?

  init(key: String?, grep: String?) throws {
    self.key = key
    do { pattern = try grep.map { try Regex($0) } } catch {
      throw UsageError(
        "--grep \((grep ?? "").displayable): not a regular expression: \("\(error)".displayable)")
    }
  }

  func accepts(_ record: RecordView) -> Bool {
    if let key {
      guard let bytes = record.key, Glob.matches(String(decoding: bytes, as: UTF8.self), key) else {
        return false
      }
    }
    guard let pattern else { return true }
    return [record.key, record.value].contains { bytes in
      guard let bytes else { return false }
      return (try? pattern.firstMatch(in: String(decoding: bytes, as: UTF8.self))) != nil
    }
  }
}
