import SkeinClient
import SkeinCore

extension TopicSummary {
  var fields: [(String, JSON)] {
    [
      ("name", .string(name)), ("topic_id", .string(id)), ("partitions", .int(Int64(partitionCount))),
      ("partitioner", .string(partitioner)), ("generation", .int(Int64(generation))),
      ("revision", .int(revision)), ("created_ms", created > 0 ? .int(created) : .null),
      ("compression", .string(compression)), ("broker_assigns", .bool(brokerAssigns)),
    ]
  }
}

extension PartitionerGeneration {
  var json: JSON {
    .object([
      ("generation", .int(Int64(generation))), ("partitioner", .string(binding.partitioner)),
      ("config", .string(binding.config)), ("weights", .array(binding.weights.map { .int(Int64($0)) })),
      ("fallback", .string(binding.fallback)), ("partitions", .int(Int64(partitionCount))),
      ("sha256", sha256.map { .string($0) } ?? .null), ("since_ms", .int(since)),
      ("fenced", .bool(isFenced)), ("cuts", .array(cuts.map { .int($0) })),
      ("rolls_back_to", rollsBackTo.map { .int(Int64($0)) } ?? .null), ("reason", .string(reason)),
    ])
  }

  var cells: [String] {
    let back = rollsBackTo.map { "back to \($0)\(reason.isEmpty ? "" : ": \(reason)")" }
    return [
      String(generation), binding.partitioner, String(partitionCount), isFenced ? "yes" : "no",
      since > 0 ? Units.time(since) : "-", binding.config.isEmpty ? "-" : binding.config, back ?? "-",
    ]
  }
}

extension PartitionTraffic {
  /// Per second; 0 when nothing went through.
  func rate(_ count: Int64) -> Double {
    let seconds = window / .seconds(1)
    return seconds > 0 ? Double(count) / seconds : 0
  }

  var json: JSON {
    .integers([
      ("window_ms", Int64(window / .milliseconds(1))), ("records_in", recordsIn), ("bytes_in", bytesIn),
      ("records_out", recordsOut), ("bytes_out", bytesOut),
    ])
  }
}

extension SkeinError {
  var json: JSON {
    .object([("reason", .string(reason)), ("code", .string(code.name)), ("message", .string(message))])
  }
}

extension PartitionDescription {
  /// Records that can be read; compaction and control records make it an upper bound.
  var records: Int64 { max(0, highWatermark - logStart) }

  /// `online`, or why it is not served.
  var state: String { error?.reason ?? (isOnline ? "online" : "offline") }
}

extension TopicRates.Rate {
  var fields: [(String, JSON)] {
    [
      ("records_per_second", .double(recordsPerSecond)),
      ("bytes_per_second", bytesPerSecond.map { .double($0) } ?? .null),
    ]
  }
}

extension TopicDescription {
  var records: Int64 { partitions.reduce(0) { $0 + $1.records } }
  var sizeBytes: Int64 { partitions.reduce(0) { $0 + $1.sizeBytes } }

  /// `ok`, or how many partitions are not served.
  var state: String {
    let broken = partitions.filter { !$0.isOnline || $0.error != nil }.count
    return broken == 0 ? "ok" : "\(broken) of \(partitions.count) not served"
  }

  var totals: [(String, JSON)] {
    [("records", .int(records)), ("size_bytes", .int(sizeBytes)), ("state", .string(state))]
  }

  func json(_ rates: TopicRates?) -> JSON {
    .object(
      topic.fields.filter { $0.0 != "partitions" } + totals + (rates?.total.fields ?? []) + [
        ("partitions", .array(partitions.map { partition in .object(fields(partition, rates)) })),
        ("generations", .array(generations.map(\.json))),
        (
          "settings",
          .array(
            settings.map { setting in
              .object([
                ("name", .string(setting.name)), ("value", .string(setting.value)),
                ("source", .string(setting.source)), ("default", .string(setting.defaultValue)),
                ("meaning", .string(setting.meaning)), ("allowed", .string(setting.allowed)),
                ("effect", .string(setting.effect)),
              ])
            })
        ),
      ])
  }

  private func fields(_ partition: PartitionDescription, _ rates: TopicRates?) -> [(String, JSON)] {
    var fields: [(String, JSON)] = [
      ("partition", .int(Int64(partition.partition))), ("state", .string(partition.state)),
      ("log_start_offset", .int(partition.logStart)), ("high_watermark", .int(partition.highWatermark)),
      ("log_end_offset", .int(partition.logEnd)), ("durable_end_offset", .int(partition.durableEnd)),
      ("leader_epoch", .int(Int64(partition.leaderEpoch))), ("size_bytes", .int(partition.sizeBytes)),
      ("segments", .int(Int64(partition.segments))), ("producers", .int(Int64(partition.producers))),
      ("last_append_ms", partition.lastAppend.map { .int($0) } ?? .null),
      ("traffic", partition.traffic.json),
    ]
    if let rates { fields += rates[partition.partition]?.fields ?? [] }
    fields.append(("error", partition.error?.json ?? .null))
    return fields
  }

  func tables(_ rates: TopicRates?, meanings: Bool) -> String {
    var head = Table(["NAME", "PARTITIONS", "RECORDS", "SIZE", "STATE", "PARTITIONER", "GENERATION", "ID"])
    head.add([
      topic.name, String(topic.partitionCount), String(records), Units.bytes(sizeBytes), state,
      topic.partitioner, String(topic.generation), topic.id,
    ])
    var headings = ["PARTITION", "START", "HIGH WATERMARK", "RECORDS", "SIZE", "SEGMENTS"]
    headings += rates == nil ? ["IN", "OUT"] : ["IN NOW", "BYTES NOW"]
    let numbers = Set(headings.indices)
    var table = Table(headings + ["LAST APPEND", "EPOCH", "STATE"], right: numbers)
    for partition in partitions { table.add(cells(partition, rates)) }
    if let total = rates?.total {
      table.add(
        ["all", "", "", String(records), Units.bytes(sizeBytes), ""] + Self.cells(total) + ["", "", ""])
    }
    var rest = Table(["SETTING", "VALUE", "FROM", "DEFAULT"] + (meanings ? ["ALLOWED", "MEANING"] : []))
    for setting in settings {
      let words = meanings ? [setting.allowed, setting.meaning] : []
      rest.add([setting.name, setting.value, setting.source, setting.defaultValue] + words)
    }
    var history = Table(
      ["GENERATION", "PARTITIONER", "PARTITIONS", "FENCED", "SINCE", "CONFIG", "WHY"], right: [0])
    for generation in generations { history.add(generation.cells) }
    let tables = [head, table] + (generations.isEmpty ? [] : [history]) + [rest]
    return tables.map(\.text).joined(separator: "\n\n")
  }

  private func cells(_ partition: PartitionDescription, _ rates: TopicRates?) -> [String] {
    let traffic = partition.traffic
    let flow =
      rates.map { Self.cells($0[partition.partition]) }
      ?? [
        Units.perSecond(traffic.rate(traffic.recordsIn)), Units.perSecond(traffic.rate(traffic.recordsOut)),
      ]
    return [
      String(partition.partition), String(partition.logStart), String(partition.highWatermark),
      String(partition.records), Units.bytes(partition.sizeBytes), String(partition.segments),
    ] + flow + [
      partition.lastAppend.map(Units.time) ?? "-", String(partition.leaderEpoch), partition.state,
    ]
  }

  private static func cells(_ rate: TopicRates.Rate?) -> [String] {
    guard let rate else { return ["-", "-"] }
    return [
      Units.perSecond(rate.recordsPerSecond), rate.bytesPerSecond.map(Units.bytesPerSecond) ?? "-",
    ]
  }
}
