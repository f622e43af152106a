import CommitLog
import PluginPackage
import PluginRegistry
import SkeinCore

/// The Prometheus text page (exposition format 0.0.4).
struct MetricsPage {
  private var text = ""

  mutating func add(_ name: String, _ type: String, _ help: String, _ value: some CustomStringConvertible) {
    describe(name, type, help)
    text += "\(name) \(value)\n"
  }

  mutating func describe(_ name: String, _ type: String, _ help: String) {
    text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
  }

  mutating func sample(_ name: String, _ labels: [(String, String)], _ value: some CustomStringConvertible) {
    let rendered = labels.map { "\($0.0)=\"\(Self.escape($0.1))\"" }.joined(separator: ",")
    text += "\(name){\(rendered)} \(value)\n"
  }

  /// The format's escapes: backslash, quote, newline.
  static func escape(_ value: String) -> String {
    var out = ""
    for character in value.unicodeScalars {
      switch character {
      case "\\": out += "\\\\"
      case "\"": out += "\\\""
      case "\n": out += "\\n"
      default: out.unicodeScalars.append(character)
      }
    }
    return out
  }

  /// Topics named one by one on the page; of more only the totals are given, so that a scrape stays
  /// bounded.
  static let maximumTopics = 1_000

  static func render(_ context: BrokerContext, budget: MemoryBudget) async throws -> String {
    var page = MetricsPage()
    let metrics = context.metrics
    let counts = context.registry.counts
    page.add("skein_ready", "gauge", "1 when the broker serves.", context.health.isReady ? 1 : 0)
    page.add("skein_records_in_total", "counter", "Records acknowledged.", metrics.recordsIn.value)
    page.add("skein_bytes_in_total", "counter", "Bytes of acknowledged batches.", metrics.bytesIn.value)
    page.add("skein_bytes_out_total", "counter", "Bytes of batches sent to readers.", metrics.bytesOut.value)
    page.add("skein_calls_total", "counter", "gRPC calls accepted.", metrics.calls.value)
    page.add(
      "skein_calls_refused_total", "counter", "gRPC calls refused before they reached a service.",
      metrics.callsRefused.value)
    page.add(
      "skein_handshake_failures_total", "counter", "TLS handshakes that failed.",
      metrics.handshakeFailures.value)
    page.add("skein_publish_streams", "gauge", "Open PublishStream calls.", metrics.publishStreams.value)
    page.add("skein_read_streams", "gauge", "Open Read calls.", metrics.readStreams.value)
    page.add("skein_log_syncs_total", "counter", "Group commits.", metrics.syncs.value)
    page.add("skein_memory_reserved_bytes", "gauge", "Reserved of the memory budget.", budget.reserved)
    page.add("skein_memory_limit_bytes", "gauge", "The memory budget.", budget.limit)
    page.add(
      "skein_reads_reserved_bytes", "gauge", "Read for streams and not yet sent.", context.readBudget.reserved
    )
    page.add(
      "skein_reads_throttled_total", "counter", "Reads put off because streams held all that they may.",
      metrics.readsThrottled.value)
    page.add(
      "skein_group_fences_waited_out_total", "counter",
      "Partitions of groups that went on beyond the cut of a fenced swap before the group had committed up to it.",
      metrics.fencesWaitedOut.value)
    page.add(
      "skein_scrubbed_bytes_total", "counter", "Bytes of sealed segments read again and verified.",
      metrics.scrubbedBytes.value)
    page.add(
      "skein_scrub_rounds_total", "counter", "Times that all sealed segments were verified.",
      metrics.scrubRounds.value)
    page.add(
      "skein_scrub_damage_total", "counter", "Partitions that a verification took offline.",
      metrics.scrubDamage.value)
    page.addCompaction(context)
    page.add("skein_topics", "gauge", "Topics.", counts.topics)
    page.add("skein_partitions", "gauge", "Partitions.", counts.partitions)
    page.addPartitioning(context)
    page.addTokens(context)
    await page.addGroups(context)
    page.addOffsetStores(context)
    try await page.addPlugins(context)
    try await page.addPartitions(context)
    return page.text
  }

  private mutating func addCompaction(_ context: BrokerContext) {
    let done = context.workers.directory.cleanerStatistics
    add("skein_compaction_rounds_total", "counter", "Compactions of a partition that ended.", done.rounds)
    add(
      "skein_compaction_abandoned_total", "counter",
      "Compactions that ended early: the topic changed, the disk was full, or damage was found.",
      done.abandoned)
    add(
      "skein_compaction_read_bytes_total", "counter", "Bytes of segments that compaction read.",
      done.bytesRead)
    add(
      "skein_compaction_written_bytes_total", "counter", "Bytes of segments that compaction wrote.",
      done.bytesWritten)
    add(
      "skein_compaction_milliseconds_total", "counter", "Time that compaction worked.",
      context.metrics.compactionMicroseconds.value / 1000)
    add(
      "skein_compaction_dropped_records_total", "counter",
      "Records that a newer one of the same key replaced.", done.recordsDropped)
    add(
      "skein_compaction_dropped_tombstones_total", "counter", "Tombstones that were due.",
      done.tombstonesDropped)
    add(
      "skein_compaction_long_keys_total", "counter",
      "Records whose key is longer than compaction.memory allows: they are never replaced.",
      done.keysTooLong)
    add(
      "skein_compaction_dirty_permille", "gauge",
      "The highest share of bytes not compacted yet in any compacted partition, in thousandths.",
      done.dirtiest)
  }

  /// Versions by trust (dev: what nobody signed), and what the host counts of those that run.
  private mutating func addPlugins(_ context: BrokerContext) async throws {
    var counts: [String: Int] = [:]
    for entry in try await context.plugins.registry.list() {
      counts[entry.trust?.rawValue ?? "none", default: 0] += 1
    }
    describe(
      "skein_plugins_installed", "gauge", "Installed versions, by trust; none: its key is trusted no longer.")
    for trust in ["verified", "trusted", "dev", "none"] {
      sample("skein_plugins_installed", [("trust", trust)], counts[trust] ?? 0)
    }
    for line in context.plugins.runner.metrics() { text += line + "\n" }
  }

  private mutating func addTokens(_ context: BrokerContext) {
    guard let authenticator = context.authenticator else { return }
    let metrics = context.metrics
    describe("skein_token_checks_total", "counter", "Tokens that the authenticator was asked about.")
    sample("skein_token_checks_total", [("result", "accepted")], metrics.tokensAccepted.value)
    sample("skein_token_checks_total", [("result", "denied")], metrics.tokensDenied.value)
    sample("skein_token_checks_total", [("result", "unanswered")], metrics.tokensUnjudged.value)
    describe("skein_authenticator_up", "gauge", "1 when the token listener's authenticator answers.")
    sample(
      "skein_authenticator_up", [("plugin", authenticator.id)], authenticator.problem == nil ? 1 : 0)
  }

  private mutating func addPartitions(_ context: BrokerContext) async throws {
    var rows: [(labels: [(String, String)], state: PartitionFacts)] = []
    let topics = context.registry.all.filter { $0.tenant != .system }
    for topic in topics.sorted(by: { $0.name < $1.name }).prefix(Self.maximumTopics) {
      guard topic.partitions <= 1_000, rows.count < 10_000 else { continue }
      for state in try await context.partitionStates(of: topic, Array(0..<topic.partitions)) {
        rows.append(
          (
            [
              ("tenant", topic.tenant.rawValue), ("topic", topic.name),
              ("partition", String(state.partition)),
            ], state
          ))
      }
    }
    describe("skein_partition_high_watermark", "gauge", "Offset of the next committed record.")
    for row in rows { sample("skein_partition_high_watermark", row.labels, row.state.highWatermark) }
    describe("skein_partition_log_start_offset", "gauge", "First offset that can be read.")
    for row in rows { sample("skein_partition_log_start_offset", row.labels, row.state.logStart) }
    describe("skein_partition_size_bytes", "gauge", "Bytes on disk.")
    for row in rows { sample("skein_partition_size_bytes", row.labels, row.state.sizeBytes) }
    describe("skein_partition_offline", "gauge", "1 when the partition is not served.")
    for row in rows where row.state.fault != nil { sample("skein_partition_offline", row.labels, 1) }
  }

  /// Changes of partitioners, and the plug-ins that place records.
  private mutating func addPartitioning(_ context: BrokerContext) {
    let counts = context.partitioning.counts
    describe(
      "skein_partitioner_swaps_total", "counter", "Changes of a topic's partitioner, by how they went.")
    for (result, counter) in [
      ("committed", counts.committed), ("done", counts.done), ("rolled_back", counts.rolledBack),
      ("failed", counts.failed),
    ] {
      sample("skein_partitioner_swaps_total", [("result", result)], counter.value)
    }
    add(
      "skein_partitioner_swaps_open", "gauge", "Topics whose partitioner is being changed or watched.",
      context.partitioning.swapsInProgress)
    add(
      "skein_assign_answers_total", "counter", "AssignRequests answered on PublishStream.",
      counts.assigns.value)
    let placers = context.partitioning.placers.sorted { $0.name < $1.name }.prefix(Self.maximumTopics).map {
      placer in
      (
        labels: [
          ("tenant", placer.tenant.rawValue), ("topic", placer.name),
          ("plugin", placer.generation.binding.partitioner), ("generation", "\(placer.generation.number)"),
        ], counts: placer.counts, isLoaded: placer.problem == nil
      )
    }
    guard !placers.isEmpty else { return }
    describe("skein_partitioner_loaded", "gauge", "0 when the topic's partitioner cannot be loaded.")
    for row in placers { sample("skein_partitioner_loaded", row.labels, row.isLoaded ? 1 : 0) }
    for (name, help, value) in [
      ("skein_partitioner_records_total", "Records that a plug-in was asked about.", \PlacerCounts.records),
      ("skein_partitioner_faults_total", "Calls of a plug-in without a usable answer.", \.faults),
      (
        "skein_partitioner_fallback_records_total", "Records that the fallback placed instead.",
        \.fallbackRecords
      ),
      (
        "skein_partitioner_rejected_records_total", "Records refused for want of an answer.",
        \.rejectedRecords
      ),
    ] {
      describe(name, "counter", help)
      for row in placers { sample(name, row.labels, row.counts[keyPath: value]) }
    }
  }
}
