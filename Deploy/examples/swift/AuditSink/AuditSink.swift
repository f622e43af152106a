import Configuration
import Foundation
import SkeinClient

/// An audit sink: copies a topic into a file, a line a record, each record exactly once, whenever and however often
/// it is started or killed. The file itself says how far it is: every line carries partition and offset.
///
///     AuditSink TOPIC FILE [MAX]         ends at what is there now, or after MAX records
@main
struct AuditSink {
  /// A line of the file.
  struct Line: Codable {
    var partition: Int32
    var offset: Int64
    var key: String
    var value: String
  }

  static func main() async throws {
    let arguments = CommandLine.arguments
    guard arguments.count >= 3 else { fatal("usage: AuditSink TOPIC FILE [MAX]") }
    let (topic, path) = (arguments[1], arguments[2])
    let limit = arguments.count > 3 ? Int(arguments[3]) ?? .max : .max
    let client = try Client(
      ClientConfiguration(config: ConfigReader(provider: EnvironmentVariablesProvider())))

    var positions: [Int32: Int64] = [:]
    for partition in 0..<(try await client.admin.topicSummary(topic).partitionCount) {
      positions[partition] = 0
    }
    let file = try resume(path, &positions)
    var configuration = ReaderConfiguration()
    configuration.stopsAtEnd = true
    let reader = try await client.reader(topic: topic, from: .offsets(positions), configuration)
    var count = 0
    while count < limit, let batch = try await reader.nextBatch() {
      var lines = Data()
      for record in try batch.records() where count < limit {
        let line = Line(
          partition: record.partition, offset: record.offset,
          key: String(decoding: record.key ?? [], as: UTF8.self),
          value: String(decoding: record.value ?? [], as: UTF8.self))
        lines += try encoder.encode(line) + Data("\n".utf8)
        count += 1
      }
      try file.write(contentsOf: lines)
      // The sink's promise is the disk's.
      try file.synchronize()
    }
    await reader.close()
    print("\(count) records of \(topic) to \(path)")
    await client.close()
  }

  static let encoder = {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return encoder
  }()

  /// Opens the file behind its last whole line, and moves the positions behind what it holds.
  static func resume(_ path: String, _ positions: inout [Int32: Int64]) throws -> FileHandle {
    if !FileManager.default.fileExists(atPath: path) {
      _ = FileManager.default.createFile(atPath: path, contents: nil)
    }
    guard let file = FileHandle(forUpdatingAtPath: path) else { fatal("cannot write \(path)") }
    let data = try file.readToEnd() ?? Data()
    // A line that a killed sink wrote half is cut off; its record is read again.
    let whole = data.lastIndex(of: UInt8(ascii: "\n")).map { data[...$0] } ?? Data()
    for line in whole.split(separator: UInt8(ascii: "\n")) {
      let line = try JSONDecoder().decode(Line.self, from: line)
      positions[line.partition] = max(positions[line.partition] ?? 0, line.offset + 1)
    }
    try file.truncate(atOffset: UInt64(whole.count))
    return file
  }

  static func fatal(_ text: String) -> Never {
    FileHandle.standardError.write(Data("\(text)\n".utf8))
    exit(2)
  }
}
