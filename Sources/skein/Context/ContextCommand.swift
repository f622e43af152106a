import ArgumentParser
import Foundation
import SkeinCore

struct ContextCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "context", abstract: "Name clusters and choose one.",
    subcommands: [Set.self, Use.self, List.self, Current.self, Show.self, Delete.self],
    aliases: ["contexts"])

  struct Set: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Save a context under a name, or change parts of one.", aliases: ["add"])
    @Argument(help: "Its name.") var name: String
    @Option(help: "A context file to take over, e.g. DIR/context.yaml.", completion: .file()) var from:
      String?
    @Option(help: "HOST:PORT; several separated by commas.") var address: String?
    @Option(help: "File with the authorities of the brokers' certificates (PEM).", completion: .file())
    var ca: String?
    @Option(help: "File with the client's certificate (PEM).", completion: .file()) var certificate: String?
    @Option(help: "File with its private key (PEM).", completion: .file()) var key: String?
    @Option(
      help: "File with a bearer token, for a broker's token-listen; then certificate and key may be missing.",
      completion: .file())
    var tokenFile: String?
    @Option(help: "For display; the tenant in force is the certificate's.") var tenant: String?

    func run() throws {
      let store = ContextStore()
      var values: [String: String] = [:]
      // What is not given stays as it was.
      let base =
        try from.map(ContextFile.load)
        ?? (store.names.contains(name) ? ContextFile.load(store.path(name)) : nil)
      if let base {
        values = ["address": base.address, "ca": base.ca, "certificate": base.certificate, "key": base.key]
        values["token-file"] = base.tokenFile
        values["tenant"] = base.tenant
      }
      func absolute(_ path: String?) -> String? { path.map { URL(fileURLWithPath: $0).path } }
      for (key, value) in [
        ("address", address), ("ca", absolute(ca)), ("certificate", absolute(certificate)),
        ("key", absolute(key)), ("token-file", absolute(tokenFile)), ("tenant", tenant),
      ] {
        if let value { values[key] = value }
      }
      let (certificate, key) = (values["certificate"] ?? "", values["key"] ?? "")
      guard let address = values["address"], let ca = values["ca"], certificate.isEmpty == key.isEmpty,
        !certificate.isEmpty || values["token-file"] != nil
      else {
        throw UsageError(
          "give --from FILE, or all of --address --ca --certificate --key, or --address --ca --token-file")
      }
      try store.save(
        name,
        ContextFile(
          address: address, ca: ca, certificate: certificate, key: key, tokenFile: values["token-file"],
          tenant: values["tenant"]))
      Console.note("context \(name) is saved; choose it with `skein context use \(name)`")
    }
  }

  struct Use: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Choose the context for later commands.")
    @Argument(help: "Its name.", completion: .custom(DynamicNames.contexts)) var name: String
    func run() throws { try ContextStore().use(name) }
  }

  struct Delete: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Forget a context. Its certificates stay where they are.", aliases: ["rm"])
    @Argument(help: "Its name.", completion: .custom(DynamicNames.contexts)) var name: String
    func run() throws {
      try ContextStore().delete(name)
      Console.note("context \(name) is forgotten")
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the contexts.", aliases: ["ls"])
    @OptionGroup var options: OutputOptions

    func run() throws {
      let store = ContextStore()
      let current = store.current
      let all = store.names.map { name in (name, try? ContextFile.load(store.path(name))) }
      let json = JSON.array(
        all.map { name, file in
          .object([
            ("name", .string(name)), ("address", file.map { .string($0.address) } ?? .null),
            ("tenant", file?.tenant.map { .string($0) } ?? .null), ("current", .bool(name == current)),
          ])
        })
      try options.show(json, names: store.names) {
        var table = Table(["", "NAME", "ADDRESS", "TENANT"])
        for (name, file) in all {
          table.add([
            name == current ? "*" : "", name, file?.address ?? "(unreadable)", file?.tenant ?? "",
          ])
        }
        return table.text
      }
    }
  }

  /// The name alone: for prompts and scripts.
  struct Current: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print the context in force.",
      discussion: "A name, or the path of SKEIN_CONTEXT. Fails when none is chosen.")
    func run() throws {
      guard let given = ContextStore().given(nil) else {
        throw LocalFailure("no context is chosen; `skein context list` shows what there is")
      }
      try Console.print(given.displayable)
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show what a context says.",
      discussion: "It names the files of key and token; neither is ever printed.")
    @Argument(
      help: "Its name, or a file (default: the context in force).", completion: .custom(DynamicNames.contexts)
    )
    var name: String?
    @OptionGroup var options: OutputOptions

    func run() throws {
      let file = try ContextStore().resolve(name)
      let fields = [
        ("address", file.address), ("ca", file.ca), ("certificate", file.certificate), ("key", file.key),
        ("token-file", file.tokenFile ?? ""),
      ]
      let json = JSON.object(
        fields.map { ($0.0, .string($0.1)) } + [("tenant", file.tenant.map { .string($0) } ?? .null)])
      try options.show(json, names: [file.address]) {
        var table = Table(["WHAT", "VALUE"])
        for (key, value) in fields { table.add([key, value]) }
        table.add(["tenant", file.tenant ?? ""])
        return table.text
      }
    }
  }
}
