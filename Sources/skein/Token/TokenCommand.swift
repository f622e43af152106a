import ArgumentParser
import SkeinClient
import SkeinCore

struct TokenCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "token", abstract: "Make, list and revoke tokens for clients without a certificate.",
    discussion: """
      A token stands for a principal on a broker's token-listen. These commands need
      a client certificate: who has a token cannot make another.

        skein token create orders --lifetime 30d > orders.token
        skein --token-file orders.token --address broker:7602 produce orders
      """,
    subcommands: [TokenCreate.self, TokenList.self, TokenRevoke.self], aliases: ["tokens"])
}

struct TokenCreate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Make a token for a principal, and print it, once.",
    discussion: """
      The token alone goes to stdout; what is said about it, to stderr. The broker
      keeps its hash and cannot show it again. A principal has at most two: make the
      second, put it in place, then revoke the first.
      """)
  @Argument(help: "Whom it stands for: 1 to 63 of a-z 0-9 . _ -") var principal: String
  @Option(help: "How long it is good: 30m, 12h, 90d; a minute to 366 days.") var lifetime = "90d"
  @Option(help: "For people, at most 100 characters.") var note = ""
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions

  func run() async throws {
    guard let lifetime = Units.parseDuration(lifetime), lifetime > .zero else {
      throw UsageError("--lifetime \(self.lifetime.displayable): give a number with s, m, h or d, e.g. 90d")
    }
    let made = try await connection.withClient {
      try await $0.admin.createToken(principal: principal, lifetime: lifetime, note: note)
    }
    let info = made.info
    guard case .object(let fields) = info.json else { return }
    try options.show(.object([("token", .string(made.secret))] + fields), names: [made.secret]) {
      made.secret
    }
    Console.note(
      "token \(info.id) of \(info.principal.displayable), good until \(Units.time(info.expires)); it is not shown again"
    )
  }
}

struct TokenList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the live tokens, without their secrets.", aliases: ["ls"])
  @Option(help: "Only of this principal.") var principal = ""
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions

  func run() async throws {
    let tokens = try await connection.withClient { try await $0.admin.listTokens(principal: principal) }
    try options.show(.array(tokens.map(\.json)), names: tokens.map(\.id)) {
      var table = Table(["ID", "PRINCIPAL", "CREATED", "EXPIRES", "BY", "NOTE"])
      for token in tokens {
        table.add([
          token.id, token.principal, Units.time(token.created), Units.time(token.expires), token.createdBy,
          token.note,
        ])
      }
      return table.text
    }
  }
}

struct TokenRevoke: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "revoke", abstract: "End tokens; what uses them is cut within seconds.", aliases: ["rm"])
  @Argument(help: "Ids, as `skein token list` shows them.") var ids: [String]
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions

  func run() async throws {
    // Who gives the token itself has shown it to the shell's history; it works all the same.
    let ids = ids.map { text in
      let parts = text.split(separator: "_")
      return parts.count == 3 && parts[0] == "skein" ? String(parts[1]) : text
    }
    try await connection.withClient { client in
      for id in ids { try await client.admin.revokeToken(id) }
    }
    try options.show(.array(ids.map { .string($0) }), names: ids) {
      ids.map { "revoked \($0.displayable)" }.joined(separator: "\n")
    }
  }
}

extension TokenInfo {
  var json: JSON {
    .object([
      ("token_id", .string(id)), ("principal", .string(principal)), ("created_ms", .int(created)),
      ("expires_ms", .int(expires)), ("created_by", .string(createdBy)), ("note", .string(note)),
    ])
  }
}
