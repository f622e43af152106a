import ArgumentParser
import Foundation
import SkeinCore

struct ContextCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "context", abstract: "Name clusters and choose one.",
    subcommands: [Add.self, Use.self, List.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Save a context under a name.")
    @Argument(help: "Its name.") var name: String
    @Option(help: "A context file to take over, e.g. DIR/context.yaml.") var from: String?
    @Option(help: "HOST:PORT; several separated by commas.") var address: String?
    @Option(help: "File with the authorities of the brokers' certificates (PEM).") var ca: String?
    @Option(help: "File with the client's certificate (PEM).") var certificate: String?
    @Option(help: "File with its private key (PEM).") var key: String?
    @Option(help: "For display; the tenant in force is the certificate's.") var tenant: String?

    func run() throws {
      var values: [String: String] = [:]
      if let from {
        let file = try ContextFile.load(from)
        values = ["address": file.address, "ca": file.ca, "certificate": file.certificate, "key": file.key]
        values["tenant"] = file.tenant
      }
      func absolute(_ path: String?) -> String? { path.map { URL(fileURLWithPath: $0).path } }
      for (key, value) in [
        ("address", address), ("ca", absolute(ca)), ("certificate", absolute(certificate)),
        ("key", absolute(key)), ("tenant", tenant),
      ] {
        if let value { values[key] = value }
      }
      guard let address = values["address"], let ca = values["ca"], let key = values["key"],
        let certificate = values["certificate"]
      else { throw UsageError("give --from FILE, or all of --address --ca --certificate --key") }
      try ContextStore().save(
        name,
        ContextFile(address: address, ca: ca, certificate: certificate, key: key, tenant: values["tenant"]))
      Console.note("context \(name) is saved; choose it with `skein context use \(name)`")
    }
  }

  struct Use: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Choose the context for later commands.")
    @Argument(help: "Its name.") var name: String
    func run() throws { try ContextStore().use(name) }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the contexts.")
    @OptionGroup var options: OutputOptions

    func run() throws {
      let store = ContextStore()
      let current = store.current
      let all = store.names.map { name in (name, try? ContextFile.load(store.path(name))) }
      switch options.output {
      case .json:
        try Console.print(
          JSON.array(
            all.map { name, file in
              .object([
                ("name", .string(name)), ("address", file.map { .string($0.address) } ?? .null),
                ("tenant", file?.tenant.map { .string($0) } ?? .null), ("current", .bool(name == current)),
              ])
            }
          ).text)
      case .table:
        var table = Table(["", "NAME", "ADDRESS", "TENANT"])
        for (name, file) in all {
          table.add([
            name == current ? "*" : "", name, file?.address ?? "(unreadable)", file?.tenant ?? "",
          ])
        }
        try Console.print(table.text)
      }
    }
  }
}
