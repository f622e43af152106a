import ArgumentParser
import SkeinClient
import SkeinCore

struct GroupStores: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stores", abstract: "Show the places for committed offsets that the broker has.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions

  func run() async throws {
    let stores = try await connection.withClient { try await $0.admin.listOffsetStores() }
    let json = JSON.array(
      stores.map { store in
        .object([
          ("name", .string(store.name)), ("plugin", .string(store.plugin)),
          ("default", .bool(store.isDefault)), ("problem", store.problem.map { .string($0) } ?? .null),
        ])
      })
    try options.show(json, names: stores.map(\.name)) {
      var table = Table(["STORE", "PLUGIN", "NEW GROUPS", "STATE"])
      for store in stores {
        table.add([store.name, store.plugin, store.isDefault ? "yes" : "-", store.problem ?? "ok"])
      }
      return table.text
    }
  }
}

struct GroupChooseStore: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "choose-store", abstract: "Choose where new groups, or one without offsets, keep them.",
    discussion: "A group that has offsets is moved: `skein group move-offsets`.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "The store.", completion: .custom(DynamicNames.stores)) var store: String
  @Option(
    name: .shortAndLong, help: "For this group (default: for new groups of the tenant).",
    completion: .custom(DynamicNames.groups)) var group: String?

  func run() async throws {
    let before = try await connection.withClient { client in
      try await client.admin.chooseOffsetStore(store, group: group)
    }
    let json = JSON.object([
      ("store", .string(store)), ("before", .string(before)),
      ("group", group.map { .string($0) } ?? .null),
    ])
    try options.show(json, names: [store]) {
      "\(group.map(\.displayable) ?? "new groups"): offsets in \(store.displayable) (before: \(before.displayable))"
    }
  }
}

struct GroupMoveOffsets: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "move-offsets", abstract: "Move a stopped group's offsets to another store.",
    discussion: """
      They are copied, read back and compared, switched in one step, then removed
      from the old store. While it runs nobody may join the group or commit. If it is
      interrupted, the same command goes on.
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @OptionGroup var name: GroupArgument
  @Option(help: "The store, one of `skein group stores`.", completion: .custom(DynamicNames.stores)) var to:
    String

  func run() async throws {
    let group = name.group
    let interrupted = try await Signals.cancelling {
      try await connection.withClient { client in
        var last: OffsetMoveProgress?
        var line = Line()
        defer { line.end() }
        for try await progress in client.admin.moveOffsets(group: group, to: to) {
          line.show(progress, isNew: progress.step != last?.step)
          last = progress
        }
        // Cancelled, it ends without a last step.
        try Task.checkCancellation()
        guard let last, last.step == .done else {
          throw LocalFailure(
            "the broker ended the move after `\(last?.step.rawValue ?? "nothing")`; the same command goes on")
        }
        line.end()
        try show(last, group)
      }
    }
    if interrupted {
      throw LocalFailure(
        "the move of \(group.displayable) was left; what it is at, `skein group describe` shows, and the same command goes on"
      )
    }
  }

  private func show(_ last: OffsetMoveProgress, _ group: String) throws {
    let json = JSON.object([
      ("group", .string(group)), ("from", .string(last.from)), ("to", .string(last.to)),
      ("offsets", .int(last.total)),
    ])
    try options.show(json, names: [group]) {
      last.from == last.to
        ? "\(group.displayable): its offsets are in \(last.to.displayable) already"
        : "moved \(group.displayable) from \(last.from.displayable) to \(last.to.displayable): \(last.total) offsets"
    }
  }

  /// The steps on stderr: one line that is written over on a terminal, else a line a step.
  private struct Line {
    private var isOpen = false

    mutating func show(_ progress: OffsetMoveProgress, isNew: Bool) {
      let text = "\(progress.step.rawValue) \(progress.done) of \(progress.total)"
      if Console.isErrorTerminal {
        try? Console.write(Array("\r\(text)\u{1b}[K".utf8), to: 2)
        isOpen = true
      } else if isNew {
        Console.note("skein: \(text)")
      }
    }

    mutating func end() {
      if isOpen { Console.note("") }
      isOpen = false
    }
  }
}
