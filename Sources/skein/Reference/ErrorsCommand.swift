import ArgumentParser
import SkeinCore

struct ErrorsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "errors", abstract: "Explain the reason of an error, or list all.",
    discussion: "The same catalogue that broker and SDK use. It needs no broker.")
  @OptionGroup var options: OutputOptions
  @Argument(
    help: ArgumentHelp(
      "As it stands in brackets after a message, e.g. TOPIC_NOT_FOUND.", valueName: "reason"),
    completion: .list(Reason.catalogue.map(\.name)))
  var reason: String?

  func run() throws {
    guard let reason else { return try list() }
    let name = reason.uppercased().replacing("-", with: "_")
    guard let found = Reason.named(name) else {
      throw UsageError(
        "no reason \(reason.displayable) is in the catalogue\(NearestWord.hint(for: name, in: Reason.catalogue.map(\.name)))\n  `skein errors` lists them all."
      )
    }
    try options.show(json(found), names: [found.name]) {
      """
      \(found.name)
        \(found.meaning)
        gRPC code  \(found.code.name)
        outcome    \(outcome(found)): \(found.outcome == .definite ? "nothing was applied" : "it may or may not have been applied; only an idempotent retry may follow")
        retry      \(found.retriable ? "the same request may succeed later" : "not without a change")
      """
    }
  }

  private func list() throws {
    let all = Reason.catalogue
    try options.show(.array(all.map(json)), names: all.map(\.name)) {
      var table = Table(["REASON", "CODE", "OUTCOME", "RETRY"])
      for reason in all {
        table.add([reason.name, reason.code.name, outcome(reason), reason.retriable ? "yes" : "no"])
      }
      return table.text
    }
  }

  private func outcome(_ reason: Reason) -> String { reason.outcome == .definite ? "definite" : "unknown" }

  private func json(_ reason: Reason) -> JSON {
    .object([
      ("reason", .string(reason.name)), ("code", .string(reason.code.name)),
      ("outcome", .string(outcome(reason))),
      ("retriable", .bool(reason.retriable)), ("meaning", .string(reason.meaning)),
    ])
  }
}
