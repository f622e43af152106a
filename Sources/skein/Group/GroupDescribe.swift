import ArgumentParser
import SkeinClient
import SkeinCore

struct GroupDescribe: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "describe",
    abstract: "Show a group's members, partitions, committed offsets, and lag in records and time.",
    discussion: """
      LAG is how many records are behind the commit; BEHIND, how long ago the first
      of them was appended. Members' ids are cut to what tells them apart; --output
      json has the whole. With --watch a terminal shows one picture that is renewed;
      a pipe gets one document a look. It goes on while the broker is away, and ends
      with ^C.
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @OptionGroup var name: GroupArgument
  @Flag(name: .shortAndLong, help: "Look again and again, until ^C.") var watch = false
  @Option(help: ArgumentHelp("Between two looks.", valueName: "seconds")) var interval = 1.0

  func validate() throws {
    guard (0.1...3600).contains(interval) else {
      throw ValidationError("--interval must be 0.1 to 3600 s, is \(interval)")
    }
  }

  func run() async throws {
    let group = name.group
    _ = try await Signals.cancelling {
      try await connection.withClient { client in
        var screen = Screen()
        let isPicture = watch && options.output == .table && Console.isOutputTerminal
        repeat {
          do {
            let description = try await client.admin.describeGroup(group)
            if isPicture {
              try screen.draw(description.tables)
            } else {
              try options.show(description.json, names: description.members.map(\.id)) {
                description.tables + (watch ? "\n" : "")
              }
            }
          } catch let error as SkeinError {
            // A broker that restarts comes back; a group that is gone does not.
            guard watch, error.isRetriable, !Task.isCancelled else { throw error }
            let text = "skein: \(Failure.escaped(error.message)) [\(error.reason.displayable)]"
            if isPicture { try screen.draw(text) } else { Console.note(text) }
          }
          if watch { try await Task.sleep(for: .seconds(interval)) }
        } while watch
      }
    }
  }
}

extension GroupSummary {
  var fields: [(String, JSON)] {
    [
      ("group", .string(name)), ("state", .string(state.rawValue)), ("members", .int(Int64(memberCount))),
      ("epoch", .int(Int64(epoch))), ("offset_store", .string(offsetStore)),
    ]
  }
}

extension GroupDescription {
  /// Records behind, of all partitions whose lag is known.
  var lag: Int64 { partitions.reduce(0) { $0 + ($1.error == nil ? $1.lag : 0) } }
  /// The longest that a partition is behind.
  var lagTime: Duration { partitions.filter { $0.error == nil }.map(\.lagTime).max() ?? .zero }

  var json: JSON {
    .object(
      group.fields.filter { $0.0 != "members" } + [
        ("assignment_epoch", .int(Int64(assignmentEpoch))), ("assignor", .string(assignor)),
        ("empty_since_ms", emptySince.map { .int($0) } ?? .null), ("lag_records", .int(lag)),
        ("lag_ms", .int(lagTime.milliseconds)), ("members", .array(members.map(\.json))),
        ("partitions", .array(partitions.map(\.json))),
      ])
  }

  var tables: String {
    var head = Table(["GROUP", "STATE", "LAG", "BEHIND", "MEMBERS", "EPOCH", "ASSIGNOR", "OFFSETS IN"])
    head.add([
      group.name, group.state.rawValue, String(lag), lagTime.behind, String(group.memberCount),
      String(group.epoch), assignor, group.offsetStore,
    ])
    // A picture is cut at the terminal's edge: what is looked for comes first.
    var people = Table(
      ["MEMBER", "STATE", "HAS", "GIVES BACK", "WAITS FOR", "HEARD", "EPOCH", "CLIENT", "INSTANCE"],
      right: [2, 3, 4, 6])
    let short = ShortIDs(members.map(\.id))
    for member in members { people.add(member.cells(short)) }
    var places = Table(
      ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND", "MEMBER", "STATE"], right: [1, 2, 3, 4, 5])
    let away = Set(members.lazy.filter { !$0.isConnected }.map(\.id))
    for partition in partitions { places.add(partition.cells(short, away)) }
    let tables = [head] + (members.isEmpty ? [] : [people]) + (partitions.isEmpty ? [] : [places])
    return tables.map(\.text).joined(separator: "\n\n")
  }
}

/// Members' ids as a table shows them: so much of each, at least 8 characters, that all differ. (32 of them would push
/// what people look for off a terminal of 80 columns; documents have the whole.)
private struct ShortIDs {
  private let length: Int

  init(_ ids: [String]) {
    let longest = ids.map(\.count).max() ?? 0
    let different = Set(ids).count
    length =
      (8..<max(8, longest)).first { length in Set(ids.map { $0.prefix(length) }).count == different }
      ?? longest
  }

  subscript(id: String) -> String { String(id.prefix(length)) }
}

extension GroupMemberDescription {
  /// What it is to get and has not.
  private var waiting: Int {
    let has = Set((assigned + revoking).flatMap { list in list.partitions.map { [list.topic, String($0)] } })
    return target.flatMap { list in list.partitions.map { [list.topic, String($0)] } }
      .count { !has.contains($0) }
  }

  fileprivate func cells(_ short: ShortIDs) -> [String] {
    [
      short[id], isConnected ? "connected" : "away", String(assigned.partitionCount),
      String(revoking.partitionCount), String(waiting), silence.map { "\($0.behind) ago" } ?? "-",
      String(epoch), client.isEmpty ? "-" : client, instanceID.isEmpty ? "-" : instanceID,
    ]
  }

  fileprivate var json: JSON {
    .object([
      ("member_id", .string(id)), ("instance_id", instanceID.isEmpty ? .null : .string(instanceID)),
      ("process_id", .string(processID)), ("client", .string(client)),
      ("topics", .array(topics.map { .string($0) })), ("patterns", .array(patterns.map { .string($0) })),
      ("labels", .object(labels.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })),
      ("epoch", .int(Int64(epoch))), ("connected", .bool(isConnected)),
      ("silent_ms", silence.map { .int($0.milliseconds) } ?? .null),
      ("processing_ms", .int(processingLimit.milliseconds)), ("assigned", assigned.json),
      ("revoking", revoking.json), ("target", target.json),
    ])
  }
}

extension GroupPartitionDescription {
  private func state(_ away: Set<String>) -> String {
    if let error { return error.reason }
    guard let memberID else { return "nobody reads it" }
    return away.contains(memberID) ? "its member is away" : "ok"
  }

  fileprivate func cells(_ short: ShortIDs, _ away: Set<String>) -> [String] {
    [
      topic, String(partition), committed.map(String.init) ?? "-", error == nil ? String(highWatermark) : "-",
      error == nil ? String(lag) : "-", error == nil ? lagTime.behind : "-",
      memberID.map { short[$0] } ?? "-", state(away),
    ]
  }

  fileprivate var json: JSON {
    .object([
      ("topic", .string(topic)), ("partition", .int(Int64(partition))),
      ("committed_offset", committed.map { .int($0) } ?? .null),
      ("high_watermark", error == nil ? .int(highWatermark) : .null),
      ("lag_records", error == nil ? .int(lag) : .null),
      ("lag_ms", error == nil ? .int(lagTime.milliseconds) : .null),
      ("member_id", memberID.map { .string($0) } ?? .null), ("metadata", .string(metadata)),
      ("committed_ms", committedAt.map { .int($0) } ?? .null), ("leader_epoch", .int(Int64(leaderEpoch))),
      ("error", error?.json ?? .null),
    ])
  }
}

extension [TopicPartitionList] {
  fileprivate var partitionCount: Int { reduce(0) { $0 + $1.partitions.count } }

  fileprivate var json: JSON {
    .array(
      map { list in
        .object([
          ("topic", .string(list.topic)), ("partitions", .array(list.partitions.map { .int(Int64($0)) })),
        ])
      })
  }
}

extension Duration {
  var milliseconds: Int64 { Int64(self / .milliseconds(1)) }

  /// For people: `0s`, `1.2s`, `34s`, `5m6s`.
  fileprivate var behind: String {
    let tenths = (milliseconds + 50) / 100
    guard tenths < 100, tenths > 0 else { return Units.duration(seconds: (milliseconds + 500) / 1000) }
    return "\(tenths / 10).\(tenths % 10)s"
  }
}
