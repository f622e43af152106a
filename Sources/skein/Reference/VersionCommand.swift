import ArgumentParser
import SkeinClient

struct VersionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Show the version of this program, and with --broker of the brokers.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Flag(help: "Ask the cluster of the context in force as well.") var broker = false

  func run() async throws {
    let brokers =
      broker ? try await connection.withClient { try await $0.admin.describeCluster() }.brokers : []
    let json = JSON.object([
      ("skein", .string(Skein.version)),
      (
        "brokers",
        .array(
          brokers.map { .object([("broker_id", .int(Int64($0.id))), ("version", .string($0.version))]) })
      ),
    ])
    try options.show(json, names: [Skein.version]) {
      (["skein \(Skein.version)"]
        + brokers.map { "broker \($0.id) \($0.version.displayable) at \($0.address.displayable)" })
        .joined(separator: "\n")
    }
  }
}
