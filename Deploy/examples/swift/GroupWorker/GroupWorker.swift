import Configuration
import Dispatch
import Foundation
import SkeinClient

/// A worker of a group: workers share a topic's partitions; what one leaves undone, however it ends, another does.
///
///     GroupWorker TOPIC GROUP FILE [MAX]     until SIGTERM, or for MAX records; start as many as you like
@main
struct GroupWorker {
  static func main() async throws {
    let arguments = CommandLine.arguments
    guard arguments.count >= 4 else { fatal("usage: GroupWorker TOPIC GROUP FILE [MAX]") }
    let (topic, group, path) = (arguments[1], arguments[2], arguments[3])
    let limit = arguments.count > 4 ? Int(arguments[4]) ?? .max : .max
    _ = FileManager.default.createFile(atPath: path, contents: nil)
    guard let file = FileHandle(forWritingAtPath: path) else { fatal("cannot write \(path)") }
    let client = try Client(
      ClientConfiguration(config: ConfigReader(provider: EnvironmentVariablesProvider())))

    let consumer = try await client.consumer(group: group, topics: [topic])
    let work = Task {
      var count = 0
      for try await record in consumer {
        try write(record, to: file)
        count += 1
        guard count == limit else { continue }
        // A loop that is left has not processed what it has in hand, unless it says so.
        try await consumer.commit(record)
        break
      }
      return count
    }
    // A cancelled loop finishes its record, commits, and leaves; its partitions are another worker's at once.
    signal(SIGTERM, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: SIGTERM, queue: .main)
    source.setEventHandler { work.cancel() }
    source.resume()
    defer { source.cancel() }

    print("\(try await work.value) records of \(topic) to \(path)")
    await consumer.close()
    await client.close()
  }

  private static func write(_ record: ConsumedRecord, to file: FileHandle) throws {
    let line: [Any] = [
      Int(record.partition), Int(record.offset), String(decoding: record.key ?? [], as: UTF8.self),
      String(decoding: record.value ?? [], as: UTF8.self),
    ]
    try file.write(contentsOf: JSONSerialization.data(withJSONObject: line) + Data("\n".utf8))
  }

  private static func fatal(_ text: String) -> Never {
    FileHandle.standardError.write(Data("\(text)\n".utf8))
    exit(2)
  }
}
