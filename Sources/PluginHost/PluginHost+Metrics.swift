import PluginABI
import PluginPackage

/// What /metrics shows of plug-ins: our own counts, and the series that they define.
extension PluginHost {
  /// Lines of the Prometheus text format, with their TYPE lines.
  package func metrics() -> [String] {
    let all = records.map { ($0, $0.status, $0.change { ($0.samples, $0.faultTotals) }) }
    guard !all.isEmpty else { return [] }
    var lines: [String] = []
    func series(_ name: String, _ type: String, _ value: (PluginStatus) -> UInt64) {
      lines.append("# TYPE \(name) \(type)")
      for (record, status, _) in all { lines.append("\(name){\(Self.labels(record))} \(value(status))") }
    }
    series("skein_plugin_calls_total", "counter") { $0.counts.calls }
    series("skein_plugin_records_total", "counter") { $0.counts.records }
    series("skein_plugin_call_nanoseconds_total", "counter") { $0.counts.nanoseconds }
    series("skein_plugin_restarts_total", "counter") { UInt64($0.restarts) }
    series("skein_plugin_late_completions_total", "counter") { $0.lateCompletions }
    series("skein_plugin_double_completions_total", "counter") { $0.doubleCompletions }
    series("skein_plugin_log_lines_dropped_total", "counter") { $0.droppedLogLines }
    series("skein_plugin_strikes", "gauge") { UInt64($0.strikes) }
    series("skein_plugin_instances", "gauge") { UInt64(max(0, $0.instances)) }
    series("skein_plugin_quarantined", "gauge") { $0.quarantined == nil ? 0 : 1 }
    series("skein_plugin_resident_bytes", "gauge") { UInt64(max(0, $0.residentBytes)) }
    lines.append("# TYPE skein_plugin_faults_total counter")
    for (record, _, (_, totals)) in all {
      for (kind, total) in totals.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
        lines.append("skein_plugin_faults_total{\(Self.labels(record)),kind=\"\(kind.rawValue)\"} \(total)")
      }
    }
    return lines + own(all.map { ($0.0, $0.2.0) })
  }

  /// The plug-ins' own: `skein_plugin_<name>_<unit>`. One TYPE line a name; a name that two plug-ins give to different
  /// kinds of series is shown for the first only.
  private func own(_ all: [(PluginRecord, [MetricTable.Sample])]) -> [String] {
    var byName: [String: (kind: MetricTable.Kind, lines: [String])] = [:]
    for (record, samples) in all {
      for sample in samples {
        let unit = sample.unit.isEmpty ? "" : "_\(sample.unit)"
        let name = "skein_plugin_own_\(sample.name)\(unit)"
        guard byName[name, default: (sample.kind, [])].kind == sample.kind else { continue }
        let usedBy = record.change { $0.usedBy[UInt32(truncatingIfNeeded: sample.instance)] } ?? ""
        let labels =
          Self.labels(record) + ",used_by=\"\(Self.escaped(usedBy))\",instance=\"\(sample.instance)\""
        byName[name, default: (sample.kind, [])].lines += Self.lines(name, labels, sample)
      }
    }
    return byName.sorted { $0.key < $1.key }.flatMap { name, found in
      ["# TYPE \(name) \(found.kind)"] + found.lines
    }
  }

  private static func lines(_ name: String, _ labels: String, _ sample: MetricTable.Sample) -> [String] {
    guard sample.kind == .histogram else { return ["\(name){\(labels)} \(sample.value)"] }
    var total: UInt64 = 0
    var lines: [String] = []
    for (index, count) in sample.buckets.enumerated() {
      total &+= count
      let bound = index < MetricTable.bounds.count ? "\(MetricTable.bounds[index])" : "+Inf"
      lines.append("\(name)_bucket{\(labels),le=\"\(bound)\"} \(total)")
    }
    return lines + ["\(name)_sum{\(labels)} \(sample.value)", "\(name)_count{\(labels)} \(total)"]
  }

  private static func labels(_ record: PluginRecord) -> String {
    "plugin=\"\(record.reference.id)\",version=\"\(record.reference.version)\",sha256=\"\(record.sha256.prefix(16))\""
  }

  private static func escaped(_ text: String) -> String {
    text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
  }
}
