import SkeinClient
import SkeinCore

extension TopicSummary {
  var fields: [(String, JSON)] {
    [
      ("name", .string(name)), ("topic_id", .string(id)), ("partitions", .int(Int64(partitionCount))),
      ("partitioner", .string(partitioner)), ("generation", .int(Int64(generation))),
    ]
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
    let broken = partitions.filter { $0.error != nil }.count
    return broken == 0 ? "ok" : "\(broken) of \(partitions.count) not served"
  }

  var totals: [(String, JSON)] {
    [("records", .int(records)), ("size_bytes", .int(sizeBytes)), ("state", .string(state))]
  }

  func json(_ rates: TopicRates?) -> JSON {
    .object(
      topic.fields.filter { $0.0 != "partitions" } + totals + (rates?.total.fields ?? []) + [
        ("partitions", .array(partitions.map { partition in .object(fields(partition, rates)) })),
        (
          "settings",
          .array(
            settings.map { setting in
              .object([
                ("name", .string(setting.name)), ("value", .string(setting.value)),
                ("source", .string(setting.source)), ("default", .string(setting.defaultValue)),
                ("meaning", .string(setting.meaning)),
              ])
            })
        ),
      ])
  }

  private func fields(_ partition: PartitionDescription, _ rates: TopicRates?) -> [(String, JSON)] {
    [
      ("partition", .int(Int64(partition.partition))), ("log_start_offset", .int(partition.logStart)),
      ("high_watermark", .int(partition.highWatermark)), ("log_end_offset", .int(partition.logEnd)),
      ("leader_epoch", .int(Int64(partition.leaderEpoch))), ("size_bytes", .int(partition.sizeBytes)),
    ] + (rates.map { $0[partition.partition]?.fields ?? [] } ?? []) + [
      ("error", partition.error?.json ?? .null)
    ]
  }

  func tables(_ rates: TopicRates?, meanings: Bool) -> String {
    var head = Table(["NAME", "PARTITIONS", "RECORDS", "SIZE", "STATE", "PARTITIONER", "GENERATION", "ID"])
    head.add([
      topic.name, String(topic.partitionCount), String(records), Units.bytes(sizeBytes), state,
      topic.partitioner, String(topic.generation), topic.id,
    ])
    var table = Table(
      ["PARTITION", "START", "HIGH WATERMARK", "END", "RECORDS", "SIZE"]
        + (rates == nil ? [] : ["RECORDS/S", "BYTES/S"]) + ["EPOCH", "STATE"],
      right: rates == nil ? [0, 1, 2, 3, 4, 5] : [0, 1, 2, 3, 4, 5, 6, 7])
    for partition in partitions { table.add(cells(partition, rates)) }
    if let total = rates?.total {
      table.add(["all", "", "", "", String(records), Units.bytes(sizeBytes)] + Self.cells(total) + ["", ""])
    }
    var rest = Table(["SETTING", "VALUE", "FROM", "DEFAULT"] + (meanings ? ["MEANING"] : []))
    for setting in settings {
      rest.add(
        [setting.name, setting.value, setting.source, setting.defaultValue]
          + (meanings ? [setting.meaning] : []))
    }
    return [head.text, table.text, rest.text].joined(separator: "\n\n")
  }

  private func cells(_ partition: PartitionDescription, _ rates: TopicRates?) -> [String] {
    [
      String(partition.partition), String(partition.logStart), String(partition.highWatermark),
      String(partition.logEnd), String(partition.records), Units.bytes(partition.sizeBytes),
    ] + (rates.map { Self.cells($0[partition.partition]) } ?? []) + [
      String(partition.leaderEpoch), partition.error?.reason ?? "ok",
    ]
  }

  private static func cells(_ rate: TopicRates.Rate?) -> [String] {
    guard let rate else { return ["-", "-"] }
    return [
      Units.perSecond(rate.recordsPerSecond), rate.bytesPerSecond.map(Units.bytesPerSecond) ?? "-",
    ]
  }
}
