/// What went wrong, in the one shape that broker, SDK, command line and documents share: a reason
/// of the catalogue, a sentence that names the thing, the limit, the value and the cure, and the
/// standard details of `google.rpc`. On the wire it is a `google.rpc.Status` with
/// `ErrorInfo{reason, domain: "skein", metadata}` (protocol.md, errors).
public struct Fault: Error, Sendable, Hashable, CustomStringConvertible {
  /// One wrong field of a request; all of them travel in one `google.rpc.BadRequest`.
  public struct FieldViolation: Sendable, Hashable {
    public var field: String
    public var description: String
    public init(field: String, description: String) {
      self.field = field
      self.description = description
    }
  }

  public var reason: Reason
  public var message: String
  /// Values for programs, e.g. `["topic": "orders", "limit": "8388608"]`. Never a secret, never
  /// another tenant's name.
  public var metadata: [String: String]
  public var violations: [FieldViolation]
  /// How long to wait before trying again (`google.rpc.RetryInfo`), in milliseconds.
  public var retryAfterMilliseconds: Int64?

  public init(
    _ reason: Reason, _ message: String, metadata: [String: String] = [:],
    violations: [FieldViolation] = [], retryAfterMilliseconds: Int64? = nil
  ) {
    self.reason = reason
    self.message = message
    self.metadata = metadata
    self.violations = violations
    self.retryAfterMilliseconds = retryAfterMilliseconds
  }

  public var code: StatusCode { reason.code }

  /// What the fault is about, where its metadata name it: on the wire a `google.rpc.ResourceInfo`.
  public var resource: (type: String, name: String)? {
    if let topic = metadata["topic"] {
      guard let partition = metadata["partition"] else { return ("topic", topic) }
      return ("partition", "\(topic)/\(partition)")
    }
    return metadata["producer_id"].map { ("producer", $0) }
  }

  /// The same fault, also naming the partition that it is about.
  public func about(topic: String, partition: Int32) -> Fault {
    var fault = self
    fault.metadata["topic"] = topic
    fault.metadata["partition"] = String(partition)
    return fault
  }

  public var description: String { "\(reason.name): \(message)" }
}

/// A row of the error catalogue. `Docs/errors.md` lists the same rows; a test keeps both equal.
public struct Reason: Sendable, Hashable {
  /// Whether the request may have been applied (R42).
  public enum Outcome: Sendable, Hashable {
    /// Nothing was applied.
    case definite
    /// It may or may not have been applied: only an idempotent retry may follow.
    case unknown
  }

  /// SCREAMING_SNAKE, stable for ever.
  public let name: String
  public let code: StatusCode
  public let outcome: Outcome
  /// The same request may succeed later without a change.
  public let retriable: Bool
  /// What it means and what to do, for Docs/errors.md.
  public let meaning: String

  package init(
    _ name: String, _ code: StatusCode, _ outcome: Outcome, retriable: Bool, _ meaning: String
  ) {
    self.name = name
    self.code = code
    self.outcome = outcome
    self.retriable = retriable
    self.meaning = meaning
  }

  /// The reason of that name, as a client meets it in a reply.
  public static func named(_ name: String) -> Reason? { byName[name] }

  private static let byName: [String: Reason] = Dictionary(
    uniqueKeysWithValues: catalogue.map { ($0.name, $0) })
}
