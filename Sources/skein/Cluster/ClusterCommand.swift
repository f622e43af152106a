import ArgumentParser
import SkeinClient
import SkeinCore

struct ClusterCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cluster",
    abstract: "The cluster: what it is, how it is, what changes, and stopping a broker.",
    subcommands: [Describe.self, ClusterHealthCommand.self, ClusterWatchCommand.self, ClusterDrain.self])

  struct Describe: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show the brokers, the limits, and who you are to them.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions

    func run() async throws {
      let cluster = try await connection.withClient { try await $0.admin.describeCluster() }
      try options.show(json(cluster), names: cluster.brokers.map { String($0.id) }) { tables(cluster) }
    }

    private func limits(_ limits: BrokerLimits) -> [(String, Int64)] {
      [
        ("max_message_bytes", limits.maxMessageBytes), ("max_batch_bytes", limits.maxBatchBytes),
        ("max_record_bytes", limits.maxRecordBytes),
        ("max_in_flight_batches", Int64(limits.maxInFlightBatches)),
        ("max_streams", Int64(limits.maxStreams)), ("default_fetch_bytes", limits.defaultFetchBytes),
      ]
    }

    private func json(_ cluster: ClusterDescription) -> JSON {
      .object([
        ("cluster_id", .string(cluster.clusterID)), ("tenant", .string(cluster.tenant)),
        ("principal", .string(cluster.principal)),
        (
          "brokers",
          .array(
            cluster.brokers.map { broker in
              .object([
                ("broker_id", .int(Int64(broker.id))), ("address", .string(broker.address)),
                ("version", .string(broker.version)), ("started_ms", .int(broker.started)),
              ])
            })
        ),
        ("limits", cluster.limits.map { .integers(limits($0)) } ?? .null),
      ])
    }

    private func tables(_ cluster: ClusterDescription) -> String {
      var head = Table(["CLUSTER", "TENANT", "PRINCIPAL"])
      head.add([cluster.clusterID, cluster.tenant, cluster.principal])
      var brokers = Table(["BROKER", "ADDRESS", "VERSION"])
      for broker in cluster.brokers { brokers.add([String(broker.id), broker.address, broker.version]) }
      var table = Table(["LIMIT", "VALUE"])
      for (name, value) in cluster.limits.map(limits) ?? [] { table.add([name, String(value)]) }
      return [head.text, brokers.text, table.text].joined(separator: "\n\n")
    }
  }
}
