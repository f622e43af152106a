import ArgumentParser
import SkeinClient
import SkeinCore

struct ClusterHealthCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "health", abstract: "Show how the broker is, and for each problem what to do.",
    discussion: "Exit code: 0 when everything is served, 1 when something is refused or near a limit.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions

  func run() async throws {
    let health = try await connection.withClient { try await $0.admin.health() }
    try options.show(health.json, names: [health.level.rawValue]) { health.tables }
    if health.level != .ok { throw ExitCode(Failure.failed) }
  }
}

extension ClusterHealth {
  var json: JSON {
    .object([
      ("health", .string(level.rawValue)), ("broker", .string(broker.rawValue)),
      ("problems", .array(problems.map(\.json))), ("directories", .array(directories.map(\.json))),
      ("memory", memory.json), ("topics", .int(Int64(topics))), ("partitions", .int(Int64(partitions))),
      ("offline_partitions", .int(Int64(offlinePartitions))),
      (
        "streams",
        .integers([
          ("publish", Int64(publishStreams)), ("read", Int64(readStreams)), ("watch", Int64(watchStreams)),
        ])
      ),
    ])
  }

  var tables: String {
    var head = Table(["HEALTH", "BROKER", "TOPICS", "PARTITIONS", "NOT SERVED", "STREAMS", "MEMORY"])
    head.add([
      level.rawValue, broker.rawValue, String(topics), String(partitions), String(offlinePartitions),
      "\(publishStreams) publish, \(readStreams) read, \(watchStreams) watch", memory.text,
    ])
    var disks = Table(["DIRECTORY", "STATE", "DISK FREE", "OF", "JOURNAL", "QUEUED", "UNWRITTEN", "TAILS"])
    for directory in directories {
      disks.add([
        directory.path, directory.error?.reason ?? directory.state.rawValue, Units.bytes(directory.diskFree),
        Units.bytes(directory.diskTotal), directory.journal.text, directory.queued.text,
        directory.unwritten.text,
        directory.tails.text,
      ])
    }
    let parts =
      [head.text, disks.text] + (problems.isEmpty ? [] : [problems.map(\.text).joined(separator: "\n")])
    return parts.joined(separator: "\n\n")
  }
}

extension ClusterHealth.Problem {
  var json: JSON {
    .object([
      ("level", .string(level.rawValue)), ("subject", .string(subject)),
      ("reason", reason.map { .string($0) } ?? .null), ("what", .string(what)), ("action", .string(action)),
    ])
  }

  /// Two lines: what it is, and what to do.
  var text: String {
    let reason = reason.map { " [\($0.displayable)]" } ?? ""
    return
      "\(level.rawValue): \(Failure.escaped(subject)): \(Failure.escaped(what))\(reason)\n  -> \(Failure.escaped(action))"
  }
}

extension ClusterHealth.Usage {
  var json: JSON { .integers([("used", used), ("limit", limit)]) }
  var text: String { "\(Units.bytes(used)) of \(Units.bytes(limit))" }
}

extension DirectoryHealth {
  var json: JSON {
    .object([
      ("path", .string(path)), ("state", .string(state.rawValue)), ("error", error?.json ?? .null),
      ("disk_total_bytes", .int(diskTotal)), ("disk_free_bytes", .int(diskFree)),
      ("disk_reserve_bytes", .int(diskReserve)), ("journal", journal.json), ("queued", queued.json),
      ("unwritten", unwritten.json), ("tails", tails.json),
    ])
  }
}
