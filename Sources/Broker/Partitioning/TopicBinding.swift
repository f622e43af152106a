package import SkeinCore
import Wire

/// Which partitioner a topic has, how it is configured, and what happens without it: a checked value.
package struct TopicBinding: Sendable, Hashable {
  /// A configuration's JSON text, in bytes: 16 generations of it fit a metadata record.
  static let maximumConfigBytes = 16 << 10

  /// A built-in's name, or "ID@VERSION" of a plug-in.
  package var partitioner: String
  /// One JSON object; empty = {}.
  package var config = ""
  /// One per partition, or empty: all equal.
  package var weights: [UInt32] = []
  package var fallback = Fallback.reject

  /// What a publisher gets while the plug-in does not answer.
  package enum Fallback: Sendable, Hashable {
    /// PARTITIONER_UNAVAILABLE.
    case reject
    /// This one places the records, which moves keys.
    case builtIn(BuiltInPartitioner)

    /// As it is written in requests and records.
    package var text: String {
      switch self {
      case .reject: "reject"
      case .builtIn(let partitioner): partitioner.rawValue
      }
    }

    init?(text: String) {
      if text.isEmpty || text == "reject" {
        self = .reject
      } else if let builtIn = BuiltInPartitioner(rawValue: text) {
        self = .builtIn(builtIn)
      } else {
        return nil
      }
    }
  }

  package init(_ builtIn: BuiltInPartitioner) { partitioner = builtIn.rawValue }

  init(partitioner: String, config: String, weights: [UInt32], fallback: Fallback) {
    self.partitioner = partitioner
    self.config = config
    self.weights = weights
    self.fallback = fallback
  }

  /// Nil: a plug-in.
  package var builtIn: BuiltInPartitioner? { BuiltInPartitioner(rawValue: partitioner) }

  /// Both place every record alike, whatever their fallbacks are.
  func placesLike(_ other: TopicBinding) -> Bool {
    partitioner == other.partitioner && config == other.config && weights == other.weights
  }
}

extension TopicBinding {
  /// Reads what a request says; every problem is added to `violations`, under the request's field names.
  /// - Parameter prefix: of the fields: "partitioner_" where they stand in the request itself.
  init(
    checking wire: PartitionerBinding, partitions: Int32, prefix: String = "",
    violations: inout [Fault.FieldViolation]
  ) {
    func add(_ field: String, _ description: String) {
      violations.append(.init(field: field, description: description))
    }
    let name = prefix.isEmpty ? "binding.partitioner" : "partitioner"
    let inner = prefix.isEmpty ? "binding." : prefix
    let builtIn = BuiltInPartitioner(rawValue: wire.partitioner)
    if builtIn == nil, !Self.looksLikeReference(wire.partitioner) {
      let known = BuiltInPartitioner.allCases.map(\.rawValue).joined(separator: ", ")
      add(
        name,
        "\"\(wire.partitioner.displayable)\" is not known; known: \(known), or a plug-in as ID@VERSION")
    }
    if wire.config.utf8.count > Self.maximumConfigBytes {
      add(
        inner + "config",
        "\(wire.config.utf8.count) bytes; at most \(Self.maximumConfigBytes)")
    }
    if builtIn != nil, !["", "{}"].contains(wire.config) {
      add(inner + "config", "a built-in takes no configuration; leave it empty")
    }
    if !wire.weights.isEmpty, wire.weights.count != Int(partitions) {
      add(
        inner + "weights",
        "\(wire.weights.count) weights for \(partitions) partitions; one each, or none")
    } else if !wire.weights.isEmpty, !wire.weights.contains(where: { $0 > 0 }) {
      add(inner + "weights", "all are 0; at least one must be above")
    }
    let fallback = Fallback(text: wire.fallback)
    if fallback == nil {
      add(inner + "fallback", "\"\(wire.fallback.displayable)\" is neither \"reject\" nor a built-in")
    }
    self.init(
      partitioner: wire.partitioner, config: wire.config == "{}" ? "" : wire.config, weights: wire.weights,
      fallback: fallback ?? .reject)
  }

  /// Enough to tell a plug-in from a misspelt built-in; whether there is such a one, the registry says.
  private static func looksLikeReference(_ text: String) -> Bool {
    let parts = text.split(separator: "@", omittingEmptySubsequences: false)
    return parts.count == 2 && !parts[0].isEmpty && !parts[1].isEmpty && text.utf8.count <= 160
  }

  var wire: PartitionerBinding {
    PartitionerBinding(
      partitioner: partitioner, config: config, weights: weights,
      fallback: builtIn == nil ? fallback.text : "")
  }

  /// For a topic that grew: a new partition weighs as much as the old ones on average.
  func grown(from old: Int32, to new: Int32) -> TopicBinding {
    guard !weights.isEmpty, new > old else { return self }
    var binding = self
    let sum = weights.reduce(0) { $0 + UInt64($1) }
    let mean = UInt32(clamping: max(1, sum / UInt64(weights.count)))
    binding.weights += Array(repeating: mean, count: Int(new) - weights.count)
    return binding
  }

  /// For a topic that has `partitions` now, where the binding was made for fewer.
  func fitting(_ partitions: Int32) -> TopicBinding {
    weights.count < Int(partitions) ? grown(from: Int32(weights.count), to: partitions) : self
  }
}
