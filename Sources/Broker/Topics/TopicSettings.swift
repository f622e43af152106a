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
  package var maxBatchBytes: Int64 = (16 << 20) - (64 << 10)
  package var durability: Durability = .sync
  package var minimumAcks: MinimumAcks = .leader

  package enum Durability: String, Sendable, CaseIterable { case sync, memory }
  package enum MinimumAcks: String, Sendable, CaseIterable { case none, leader, all }

  /// One row of the catalogue.
  package struct Definition: Sendable {
    package let name: String
    package let meaning: String
    let read: @Sendable (TopicSettings) -> String
    /// Applies a text, or says what values are allowed.
    let apply: @Sendable (inout TopicSettings, String) -> String?
  }

  package init() {}

  /// Applies explicit settings over the defaults; every problem is added to `violations`.
  package init(explicit: [String: String], violations: inout [Fault.FieldViolation]) {
    for (name, value) in explicit.sorted(by: { $0.key < $1.key }) {
      guard let definition = Self.catalogue.first(where: { $0.name == name }) else {
        let known = Self.catalogue.map(\.name).joined(separator: ", ")
        violations.append(
          .init(field: "settings[\(name.displayable)]", description: "unknown setting; known: \(known)"))
        continue
      }
      if let allowed = definition.apply(&self, value) {
        violations.append(
          .init(
            field: "settings[\(name)]",
            description: "\"\(value.displayable)\" is not valid; allowed: \(allowed)"))
      }
    }
  }

  /// Every setting with its value as text.
  package var rows: [(definition: Definition, value: String)] {
    Self.catalogue.map { ($0, $0.read(self)) }
  }

  package static let catalogue: [Definition] = [
    integer(
      "retention.ms", \.retentionMilliseconds, "-1 (unlimited) or 1000 to 2^53",
      { $0 == -1 || (1000...(1 << 53)).contains($0) },
      "Records older than this, by the broker's append time, are deleted with their segment. Milliseconds."),
    integer(
      "retention.bytes", \.retentionBytes, "-1 (unlimited) or 65536 to 2^53",
      { $0 == -1 || (65536...(1 << 53)).contains($0) },
      "A partition larger than this loses its oldest segments. Bytes on disk, per partition."),
    integer(
      "segment.bytes", \.segmentBytes, "65536 to 1073741824", { (65536...(1 << 30)).contains($0) },
      "A new segment begins when the active one would exceed this. Bytes."),
    integer(
      "segment.ms", \.segmentMilliseconds, "1000 to 2^53", { (1000...(1 << 53)).contains($0) },
      "A new segment begins when the active one is older than this, so that retention can act. Milliseconds."),
    integer(
      "max.message.bytes", \.maxBatchBytes, "1024 to 16711680",
      { (1024...((16 << 20) - (64 << 10))).contains($0) },
      "The largest record batch that is accepted, as stored. Bytes."),
    choice(
      "durability", \.durability,
      "sync: acknowledged after fdatasync. memory: acknowledged when appended; the last seconds can be lost with the power or the process."
    ),
    choice(
      "min.acks", \.minimumAcks,
      "The weakest acknowledgement that a producer may ask for (R43): none, leader or all."),
  ]

  private static func integer(
    _ name: String, _ path: any WritableKeyPath<TopicSettings, Int64> & Sendable, _ allowed: String,
    _ valid: @escaping @Sendable (Int64) -> Bool, _ meaning: String
  ) -> Definition {
    Definition(
      name: name, meaning: meaning, read: { String($0[keyPath: path]) },
      apply: { settings, text in
        guard let value = Int64(text), valid(value) else { return allowed }
        settings[keyPath: path] = value
        return nil
      })
  }

  private static func choice<C: RawRepresentable & CaseIterable & Sendable>(
    _ name: String, _ path: any WritableKeyPath<TopicSettings, C> & Sendable, _ meaning: String
  ) -> Definition where C.RawValue == String {
    Definition(
      name: name, meaning: meaning, read: { $0[keyPath: path].rawValue },
      apply: { settings, text in
        guard let value = C(rawValue: text) else {
          return C.allCases.map(\.rawValue).joined(separator: ", ")
        }
        settings[keyPath: path] = value
        return nil
      })
  }
}
