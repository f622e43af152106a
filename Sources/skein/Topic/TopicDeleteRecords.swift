import ArgumentParser
import SkeinClient
import SkeinCore

/// `skein topic delete-records`, also `skein topic records delete`.
struct TopicDeleteRecords: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete-records",
    abstract: "Make records before an offset or a time unreadable. Not undoable.",
    discussion: "--dry-run shows how many records would go, and changes nothing.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "The topic.", completion: .custom(DynamicNames.topics)) var topic: String
  @Option(name: .shortAndLong, help: "A partition; repeatable (default: all; an offset needs one).")
  var partition: [Int32] = []
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The new first offset, a time (2026-11-23T00:00:00Z, @MILLISECONDS, -7d), or `end` for everything.",
      valueName: "place"))
  var before: String
  @Flag(help: "Only show what would happen.") var dryRun = false

  func run() async throws {
    let place = try Place(before, partitions: partition)
    let results = try await connection.withClient { client in
      let plan = try await plan(place, client.admin)
      guard !dryRun else { return plan }
      var before: [Int32: Int64?] = [:]
      for step in plan { before.updateValue(place == .end ? nil : step.target, forKey: step.partition) }
      var done = plan
      for result in try await client.admin.deleteRecords(topic, before: before) {
        guard let index = done.firstIndex(where: { $0.partition == result.partition }) else { continue }
        done[index].error = result.error
        if result.error == nil { done[index].target = result.offset }
      }
      return done
    }
    try show(results)
    if let error = results.compactMap(\.error).first { throw error }
  }

  /// Where each partition begins now, and where it would.
  private func plan(_ place: Place, _ admin: Admin) async throws -> [Step] {
    let starts = try await admin.listOffsets(topic, partitions: partition, at: .beginning)
    let targets: [PartitionOffset] =
      switch place {
      case .offset(let offset): starts.map { PartitionOffset($0, offset: offset) }
      case .end: try await admin.listOffsets(topic, partitions: partition, at: .end)
      case .time(let time): try await admin.listOffsets(topic, partitions: partition, at: .timestamp(time))
      }
    return starts.compactMap { start in
      targets.first { $0.partition == start.partition }.map {
        Step(
          partition: start.partition, start: start.offset, target: $0.offset, error: start.error ?? $0.error)
      }
    }
  }

  private func show(_ steps: [Step]) throws {
    let json = JSON.array(
      steps.map { step in
        .object([
          ("partition", .int(Int64(step.partition))), ("log_start_offset", .int(step.target)),
          ("records", .int(step.records)), ("dry_run", .bool(dryRun)), ("error", step.error?.json ?? .null),
        ])
      })
    try options.show(json, names: steps.map { String($0.partition) }) {
      var table = Table(
        ["PARTITION", "START WAS", dryRun ? "WOULD BE" : "START", "RECORDS", "STATE"], right: [0, 1, 2, 3])
      for step in steps {
        table.add([
          String(step.partition), String(step.start), String(step.target), String(step.records),
          step.error?.reason ?? (dryRun ? "not changed" : "ok"),
        ])
      }
      return table.text
    }
  }

  struct Step: Sendable {
    let partition: Int32
    let start: Int64
    var target: Int64
    var error: SkeinError?
    var records: Int64 { error == nil ? max(0, target - start) : 0 }
  }

  enum Place: Equatable {
    case offset(Int64)
    case time(Int64)
    case end

    init(_ text: String, partitions: [Int32]) throws {
      if text == "end" {
        self = .end
      } else if let time = StartPlace.time(text) {
        self = .time(time)
      } else if let number = Int64(text), number >= 0 {
        guard !partitions.isEmpty else {
          throw UsageError("--before \(number) needs --partition: offsets differ between partitions")
        }
        self = .offset(number)
      } else {
        throw UsageError(
          "--before \(text.displayable): give an offset, a time like 2026-11-23T00:00:00Z or @MILLISECONDS, or `end`"
        )
      }
    }
  }
}

/// The form of protocol.md: `skein topic records delete`.
struct RecordsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "records", abstract: "The same as delete-records.", shouldDisplay: false,
    subcommands: [Delete.self])

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The same as `skein topic delete-records`.")
    @OptionGroup var command: TopicDeleteRecords
    func run() async throws { try await command.run() }
  }
}

extension PartitionOffset {
  /// The same partition at another offset.
  init(_ other: PartitionOffset, offset: Int64) {
    self = other
    self.offset = offset
  }
}
