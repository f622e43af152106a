import RecordFormat
package import SkeinCore

/// A topic's settings, parsed. Names follow Kafka's where the meaning is Kafka's.
///
/// The catalogue below is the only list of settings: parsing, validation, `Topics/Describe` and
/// Docs/settings.md all come from it.
package struct TopicSettings: Sendable, Hashable {
  package var retentionMilliseconds: Int64 = 604_800_000
  package var retentionBytes: Int64 = -1
  package var segmentBytes: Int64 = 256 << 20
  package var segmentMilliseconds: Int64 = 604_800_000
  package var maxBatchBytes = Int64(BatchLimits.largestBatch)
  package var durability: Durability = .sync
  package var minimumAcks: MinimumAcks = .leader
  package var compressionType: CompressionType = .producer
  package var cleanupPolicy: CleanupPolicy = .delete
  package var tombstoneMilliseconds: Int64 = 86_400_000
  package var minimumDirtyRatio = 0.5
  package var compactionLagMilliseconds: Int64 = 0
  /// Where partitions are, in turn: partition p has the place p modulo their number. Empty: nowhere.
  package var places: [String] = []

  package enum Durability: String, Sendable, CaseIterable { case sync, memory }
  package enum MinimumAcks: String, Sendable, CaseIterable { case none, leader, all }
  package enum CompressionType: String, Sendable, CaseIterable { case producer, none, gzip, lz4, zstd }
  package enum CleanupPolicy: String, Sendable, CaseIterable {
    case delete, compact
    case both = "compact,delete"
  }

  /// The last record of each key stays; every record needs a key.
  package var isCompacted: Bool { cleanupPolicy != .delete }

  /// One row of the catalogue.
  package struct Definition: Sendable {
    package let name: String
    package let meaning: String
    /// Which values are valid, in words.
    package let allowed: String
    /// From when on a change of a live topic counts.
    package let effect: String
    let read: @Sendable (TopicSettings) -> String
    /// Applies a text; false when it is not allowed.
    let apply: @Sendable (inout TopicSettings, String) -> Bool
  }

  package init() {}

  /// Applies explicit settings over the defaults; every problem is added to `violations`, under the
  /// request's `field`.
  package init(
    explicit: [String: String], field: String = "settings", violations: inout [Fault.FieldViolation]
  ) {
    for (name, value) in explicit.sorted(by: { $0.key < $1.key }) {
      guard let definition = Self.catalogue.first(where: { $0.name == name }) else {
        violations.append(
          .init(field: "\(field)[\(name.displayable)]", description: Self.whyNoSetting(name)))
        continue
      }
      guard definition.apply(&self, value) else {
        violations.append(
          .init(
            field: "\(field)[\(name)]",
            description: "\"\(value.displayable)\" is not valid; allowed: \(definition.allowed)"))
        continue
      }
    }
  }

  package static func definition(_ name: String) -> Definition? { catalogue.first { $0.name == name } }

  /// What to say of a name that the catalogue lacks: some of them are properties that cannot be
  /// changed like a setting.
  package static func whyNoSetting(_ name: String) -> String {
    if let why = fixed[name] { return why }
    return "unknown setting; known: \(catalogue.map(\.name).joined(separator: ", "))"
  }

  private static let fixed: [String: String] = [
    "partitions": "not a setting: the number of partitions grows with Topics/AddPartitions and never shrinks",
    "partitioner":
      "not a setting: another partitioner moves keys; change it with Plugins/Bind (`skein topic partitioner set`)",
    "generation": "not a setting: it rises with another partitioner, and when partitions are added",
    "name": "not a setting: a topic keeps its name; create another topic",
    "topic.id": "not a setting: a topic keeps its id for its life",
    "replication.factor": "not a setting: a single broker keeps one copy",
  ]

  /// Every setting with its value as text.
  package var rows: [(definition: Definition, value: String)] {
    Self.catalogue.map { ($0, $0.read(self)) }
  }

  package static let catalogue: [Definition] = [
    integer(
      "retention.ms", \.retentionMilliseconds, "-1 (unlimited) or 1000 to 2^53",
      { $0 == -1 || (1000...(1 << 53)).contains($0) },
      "Records older than this, by the broker's append time, are deleted with their segment. Milliseconds.",
      effect: nextUpkeep),
    integer(
      "retention.bytes", \.retentionBytes, "-1 (unlimited) or 65536 to 2^53",
      { $0 == -1 || (65536...(1 << 53)).contains($0) },
      "A partition larger than this loses its oldest segments. Bytes on disk, per partition.",
      effect: nextUpkeep),
    integer(
      "segment.bytes", \.segmentBytes, "65536 to 1073741824", { (65536...(1 << 30)).contains($0) },
      "A new segment begins when the active one would exceed this. Bytes.",
      effect: "From the next batch that is written to a segment on; sealed segments keep their size."),
    integer(
      "segment.ms", \.segmentMilliseconds, "1000 to 2^53", { (1000...(1 << 53)).contains($0) },
      "A new segment begins when the active one is older than this, so that retention can act. Milliseconds.",
      effect: nextUpkeep),
    integer(
      "max.message.bytes", \.maxBatchBytes, "1024 to \(BatchLimits.largestBatch)",
      { (1024...Int64(BatchLimits.largestBatch)).contains($0) },
      "The largest record batch that is accepted, as stored. Bytes.", effect: nextBatch),
    choice(
      "durability", \.durability,
      "sync: acknowledged after fdatasync. memory: acknowledged when appended; the last seconds can be lost with the power or the process.",
      effect:
        "From the next append on; when the change is answered, everything appended before it is synced."),
    choice(
      "min.acks", \.minimumAcks,
      "The weakest acknowledgement that a producer may ask for (R43): none, leader or all.", effect: nextBatch
    ),
    choice(
      "compression.type", \.compressionType,
      "How batches are compressed that the broker builds (Publish), and what SDKs are told to use unless their caller chose; batches that arrive compressed are kept as they are. producer: the client's choice, and none for Publish.",
      effect: "From the next Publish on; SDKs learn of it when they look at the topic again."),
    choice(
      "cleanup.policy", \.cleanupPolicy,
      "How old records go. delete: by retention. compact: the last record of each key stays, older ones of the same key go; every record needs a key. compact,delete: both.",
      effect: nextUpkeep),
    integer(
      "delete.retention.ms", \.tombstoneMilliseconds, "0 to 2^53", { (0...(1 << 53)).contains($0) },
      "In a compacted topic, how long a tombstone (a key without a value) stays after compaction first passed it, so that a reader who has seen an older value has time to see that it is gone. Milliseconds.",
      effect: "From the next compaction on; tombstones that one has passed keep their time."),
    choice(
      "min.cleanable.dirty.ratio", \.minimumDirtyRatio, "0.0 to 1.0", 0...1,
      "In a compacted topic, a partition is compacted when this share of its sealed segments' bytes came since the last time. Lower: fewer old records to read. Higher: less writing.",
      effect: nextUpkeep),
    integer(
      "min.compaction.lag.ms", \.compactionLagMilliseconds, "0 to 2^53", { (0...(1 << 53)).contains($0) },
      "In a compacted topic, records stay at least this long after their append, by the broker's clock. Milliseconds.",
      effect: nextUpkeep),
    list(
      "partition.places", \.places, atMost: mostPlaces,
      "empty, or up to \(mostPlaces) names of 1 to \(placeBytes) of A-Z a-z 0-9 . _ -, separated by commas",
      isPlace,
      "Places of the partitions for consumer groups with the assignor affinity:LABEL, in turn: of a,b the even partitions have a, the odd ones b. Members whose LABEL says so get them, while there are any. Empty: partitions have no place.",
      effect: "At once: groups whose assignor looks at it divide their partitions anew."),
  ]

  private static let mostPlaces = 64
  /// As a member's label (`GroupLimits.labelBytes`).
  private static let placeBytes = 128

  @Sendable private static func isPlace(_ text: Substring) -> Bool {
    (1...placeBytes).contains(text.utf8.count)
      && text.utf8.allSatisfy { byte in
        (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte)
          || byte == 0x2e || byte == 0x5f || byte == 0x2d
      }
  }

  private static let nextUpkeep = "At the next upkeep (`maintenance.ms`), also for what is stored already."
  private static let nextBatch = "From the next batch on."

  private static func integer(
    _ name: String, _ path: any WritableKeyPath<TopicSettings, Int64> & Sendable, _ allowed: String,
    _ valid: @escaping @Sendable (Int64) -> Bool, _ meaning: String, effect: String
  ) -> Definition {
    Definition(
      name: name, meaning: meaning, allowed: allowed, effect: effect, read: { String($0[keyPath: path]) },
      apply: { settings, text in
        guard let value = Int64(text), valid(value) else { return false }
        settings[keyPath: path] = value
        return true
      })
  }

  private static func list(
    _ name: String, _ path: any WritableKeyPath<TopicSettings, [String]> & Sendable, atMost limit: Int,
    _ allowed: String, _ valid: @escaping @Sendable (Substring) -> Bool, _ meaning: String, effect: String
  ) -> Definition {
    Definition(
      name: name, meaning: meaning, allowed: allowed, effect: effect,
      read: { $0[keyPath: path].joined(separator: ",") },
      apply: { settings, text in
        let names = text.isEmpty ? [] : text.split(separator: ",", omittingEmptySubsequences: false)
        guard names.count <= limit, names.allSatisfy(valid) else { return false }
        settings[keyPath: path] = names.map(String.init)
        return true
      })
  }

  private static func choice(
    _ name: String, _ path: any WritableKeyPath<TopicSettings, Double> & Sendable, _ allowed: String,
    _ range: ClosedRange<Double>, _ meaning: String, effect: String
  ) -> Definition {
    Definition(
      name: name, meaning: meaning, allowed: allowed, effect: effect, read: { String($0[keyPath: path]) },
      apply: { settings, text in
        // Only what one would write: no exponents, hexadecimals or "nan".
        guard text.utf8.count <= 10, text.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2e }),
          let value = Double(text), range.contains(value)
        else { return false }
        settings[keyPath: path] = value
        return true
      })
  }

  private static func choice<C: RawRepresentable & CaseIterable & Sendable>(
    _ name: String, _ path: any WritableKeyPath<TopicSettings, C> & Sendable, _ meaning: String,
    effect: String
  ) -> Definition where C.RawValue == String {
    Definition(
      name: name, meaning: meaning, allowed: C.allCases.map(\.rawValue).joined(separator: ", "),
      effect: effect, read: { $0[keyPath: path].rawValue },
      apply: { settings, text in
        guard let value = C(rawValue: text) else { return false }
        settings[keyPath: path] = value
        return true
      })
  }
}
