import ArgumentParser
import SkeinClient
import SkeinCore

struct ClusterWatchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "watch", abstract: "Show topics and health as they change, until ^C.",
    discussion: "With --output json (or yaml) a change is one document; it goes on after a lost connection.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Flag(help: "End after what is now, instead of waiting for changes.") var once = false

  func run() async throws {
    _ = try await Signals.cancelling {
      try await connection.withClient { client in
        for try await change in client.admin.watch() {
          try options.show(change.json, names: change.topics.map(\.name)) { change.text }
          if once, change.isSynced { return }
        }
      }
    }
  }
}

extension ClusterChange {
  var json: JSON {
    .object([
      ("revision", .int(revision)), ("reset", .bool(isReset)), ("synced", .bool(isSynced)),
      ("topics", .array(topics.map { .object($0.fields) })),
      (
        "deleted",
        .array(deleted.map { .object([("name", .string($0.name)), ("topic_id", .string($0.id))]) })
      ),
      ("broker", broker.map { .string($0.rawValue) } ?? .null),
      ("health", level.map { .string($0.rawValue) } ?? .null),
      ("offline_partitions", offlinePartitions.map { .int(Int64($0)) } ?? .null),
    ])
  }

  /// A line a change.
  var text: String {
    var lines: [String] = []
    if isReset { lines.append("-- all topics as they are now") }
    if let broker {
      let offline = offlinePartitions ?? 0
      lines.append(
        "broker \(broker.rawValue), health \(level?.rawValue ?? "unknown")"
          + (offline > 0 ? ", \(offline) partitions not served" : ""))
    }
    lines += topics.map {
      "topic \($0.name.displayable): \($0.partitionCount) partitions, generation \($0.generation), revision \($0.revision)"
    }
    lines += deleted.map { "topic \($0.name.displayable): deleted" }
    if isSynced { lines.append("-- changes from here on") }
    return lines.joined(separator: "\n")
  }
}

struct ClusterDrain: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drain",
    abstract: "Stop a broker gracefully, as SIGTERM does. There is no way back but a new start.",
    discussion: "Streams are told to go away, open calls end or `drain.ms` passes, the log closes cleanly.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Option(help: "Its id, from `skein cluster describe`: a guard against stopping the wrong one.") var broker:
    Int32
  @Option(help: "Why, for the broker's log.") var reason = ""
  @Flag(help: "Wait until it takes no more connections.") var wait = false

  func run() async throws {
    let progress = try await connection.withClient { client in
      let progress = try await client.admin.drain(broker: broker, reason: reason)
      // One more call a second: the first that fails to connect is the end.
      while wait, !Task.isCancelled {
        try await Task.sleep(for: .milliseconds(300))
        do { _ = try await client.admin.health() } catch { break }
      }
      return progress
    }
    let milliseconds = Int64(progress.deadline / .milliseconds(1))
    let json = JSON.object([
      ("broker_id", .int(Int64(broker))), ("open_streams", .int(Int64(progress.openStreams))),
      ("deadline_ms", .int(milliseconds)), ("already_draining", .bool(progress.hadBegun)),
      ("ended", .bool(wait)),
    ])
    try options.show(json, names: [String(broker)]) {
      let verb = wait ? "has stopped" : progress.hadBegun ? "was draining already" : "drains"
      return "broker \(broker) \(verb): \(progress.openStreams) streams were open, \(milliseconds) ms at most"
    }
  }
}
