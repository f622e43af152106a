import SkeinClient
import SkeinCore

extension TopicSummary {
  var fields: [(String, JSON)] {
    [
      ("name", .string(name)), ("topic_id", .string(id)), ("partitions", .int(Int64(partitionCount))),
      ("partitioner", .string(partitioner)), ("generation", .int(Int64(generation))),
    ]
  }
  var json: JSON { .object(fields) }
}

extension SkeinError {
  var json: JSON {
    .object([("reason", .string(reason)), ("code", .string(code.name)), ("message", .string(message))])
  }
}

extension TopicDescription {
  var json: JSON {
    .object(
      topic.fields.filter { $0.0 != "partitions" } + [
        (
          "partitions",
          .array(
            partitions.map { partition in
              .object([
                ("partition", .int(Int64(partition.partition))),
                ("log_start_offset", .int(partition.logStart)),
                ("high_watermark", .int(partition.highWatermark)),
                ("log_end_offset", .int(partition.logEnd)),
                ("leader_epoch", .int(Int64(partition.leaderEpoch))),
                ("size_bytes", .int(partition.sizeBytes)),
                ("error", partition.error?.json ?? .null),
              ])
            })
        ),
        (
          "settings",
          .array(
            settings.map { setting in
              .object([
                ("name", .string(setting.name)), ("value", .string(setting.value)),
                ("source", .string(setting.source)), ("default", .string(setting.defaultValue)),
              ])
            })
        ),
      ])
  }

  var tables: String {
    var head = Table(["NAME", "PARTITIONS", "PARTITIONER", "GENERATION", "ID"])
    head.add([
      topic.name, String(topic.partitionCount), topic.partitioner, String(topic.generation), topic.id,
    ])
    var table = Table(["PARTITION", "START", "HIGH WATERMARK", "END", "EPOCH", "BYTES", "STATE"])
    for partition in partitions {
      table.add([
        String(partition.partition), String(partition.logStart), String(partition.highWatermark),
        String(partition.logEnd), String(partition.leaderEpoch), String(partition.sizeBytes),
        partition.error?.reason ?? "ok",
      ])
    }
    var rest = Table(["SETTING", "VALUE", "FROM"])
    for setting in settings { rest.add([setting.name, setting.value, setting.source]) }
    return [head.text, table.text, rest.text].joined(separator: "\n\n")
  }
}
