import SkeinClient
import SkeinCore

/// What the broker says: versions, limits, health, topics and the access to them.
struct BrokerChecks {
  /// What stock gRPC libraries receive at most, unless they are told otherwise.
  static let stockReceiveBytes: Int64 = 4 << 20

  let connection: ConnectionOptions
  let topics: [String]

  func run(_ findings: inout Findings) async {
    var found = findings
    do {
      let configuration = try connection.clientConfiguration()
      let client = try Client(configuration)
      await describe(client.admin, &found)
      await health(client.admin, &found)
      await access(client.admin, &found)
      await client.close()
    } catch { found.add(.fail, "broker", "\(error)") }
    findings = found
  }

  private func describe(_ admin: Admin, _ findings: inout Findings) async {
    do {
      let cluster = try await admin.describeCluster()
      findings.add(
        .ok, "cluster", "\(cluster.clusterID), you are \(cluster.principal) of tenant \(cluster.tenant)")
      for broker in cluster.brokers {
        if broker.version == Skein.version {
          findings.add(.ok, "version", "broker \(broker.id) and this program: \(broker.version)")
        } else {
          findings.add(
            .warn, "version", "broker \(broker.id) is \(broker.version), this program \(Skein.version)",
            cure: "use the program of the broker's version where a command is unknown to one of them")
        }
      }
      if let limits = cluster.limits { check(limits, &findings) }
    } catch { refuse("cluster", error, &findings) }
  }

  private func check(_ limits: BrokerLimits, _ findings: inout Findings) {
    let text =
      "message \(Units.bytes(limits.maxMessageBytes)), batch \(Units.bytes(limits.maxBatchBytes)), record \(Units.bytes(limits.maxRecordBytes)), \(limits.maxStreams) streams a connection"
    if limits.defaultFetchBytes > Self.stockReceiveBytes {
      findings.add(
        .warn, "limits",
        "\(text); a fetch answers up to \(Units.bytes(limits.defaultFetchBytes)), stock gRPC receives 4 MiB",
        cure: "set max_bytes of Fetch, or grpc.max_receive_message_length")
    } else {
      findings.add(.ok, "limits", text)
    }
  }

  private func health(_ admin: Admin, _ findings: inout Findings) async {
    do {
      let health = try await admin.health()
      for problem in health.problems {
        let text = "\(problem.subject): \(problem.what)" + (problem.reason.map { " [\($0)]" } ?? "")
        findings.add(problem.level == .failed ? .fail : .warn, "health", text, cure: problem.action)
      }
      if health.problems.isEmpty {
        findings.add(
          .ok, "health",
          "the broker is \(health.broker.rawValue), \(health.partitions) partitions, all served")
      }
    } catch  where error.reason == Reason.methodUnknown.name {
      findings.add(.skip, "health", "this broker is too old to say")
    } catch { refuse("health", error, &findings) }
  }

  private func access(_ admin: Admin, _ findings: inout Findings) async {
    do {
      let names = try await admin.listTopics().map(\.name)
      findings.add(.ok, "topics", "\(names.count) are visible to you")
      for topic in topics { await check(topic, names, admin, &findings) }
    } catch { refuse("topics", error, &findings) }
  }

  private func check(_ topic: String, _ names: [String], _ admin: Admin, _ findings: inout Findings) async {
    do {
      let found = try await admin.describeTopic(topic)
      for partition in found.partitions {
        guard let error = partition.error else { continue }
        findings.add(
          .fail, "topic", "\(topic)/\(partition.partition) is not served: \(error.message) [\(error.reason)]",
          cure: Reason.named(error.reason)?.meaning)
      }
      if found.partitions.allSatisfy({ $0.error == nil }) {
        findings.add(.ok, "topic", "\(topic): \(found.partitions.count) partitions, all served")
      }
    } catch {
      let near = NearestWord.find(topic, in: names).map { "did you mean `\($0)`?" }
      findings.add(
        .fail, "topic", "\(topic): \(error.message) [\(error.reason)]",
        cure: near ?? Reason.named(error.reason)?.meaning, code: Failure.code(error))
    }
  }

  private func refuse(_ check: String, _ error: SkeinError, _ findings: inout Findings) {
    findings.add(
      .fail, check, "\(error.message) [\(error.reason)]", cure: Reason.named(error.reason)?.meaning,
      code: Failure.code(error))
  }
}
