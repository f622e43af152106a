public import SkeinCore

/// Why an operation of the SDK failed, in one type for all of them.
///
/// Decide by `reason` (stable, documented in Docs/errors.md), show `message`. `outcome` says whether
/// the operation may have taken effect (R42): after `.unknown` only an idempotent retry may follow,
/// which `Producer` does by itself within its delivery deadline.
public struct SkeinError: Error, Sendable, CustomStringConvertible {
  /// Whether the operation may have been applied.
  public enum Outcome: Sendable, Hashable {
    /// Nothing was applied.
    case definite
    /// It may or may not have been applied.
    case unknown
  }

  /// One wrong field of a request.
  public struct FieldViolation: Sendable, Hashable {
    /// Path of the field, e.g. `settings["retention.ms"]`.
    public var field: String
    /// What is wrong with it and what is allowed.
    public var description: String
  }

  /// The canonical gRPC status code, e.g. `.notFound`.
  public var code: StatusCode
  /// The catalogue's name, e.g. `TOPIC_NOT_FOUND`; SCREAMING_SNAKE. New names may appear.
  public var reason: String
  /// What, why, which limit, and what to do next, in English.
  public var message: String
  /// Values for programs, e.g. `["topic": "orders", "high_watermark": "1207"]`.
  public var metadata: [String: String]
  /// Every wrong field of a refused request.
  public var violations: [FieldViolation]
  /// Whether the operation may have taken effect.
  public var outcome: Outcome
  /// The same request may succeed later without a change.
  public var isRetriable: Bool
  /// How long the broker asks to wait before another try.
  public var retryAfter: Duration?
  /// The error below this one, if there is one.
  public var cause: (any Error)?

  public var description: String { "\(reason): \(message)" }

  package init(_ fault: Fault, cause: (any Error)? = nil) {
    code = fault.code
    reason = fault.reason.name
    message = fault.message
    metadata = fault.metadata
    violations = fault.violations.map { FieldViolation(field: $0.field, description: $0.description) }
    outcome = fault.reason.outcome == .definite ? .definite : .unknown
    isRetriable = fault.reason.retriable
    retryAfter = fault.retryAfterMilliseconds.map { .milliseconds($0) }
    self.cause = cause
  }

  package init(
    _ reason: Reason, _ message: String, metadata: [String: String] = [:], outcome: Outcome? = nil,
    cause: (any Error)? = nil
  ) {
    self.init(Fault(reason, message, metadata: metadata), cause: cause)
    if let outcome { self.outcome = outcome }
  }
}

extension SkeinError {
  /// Any error as one of ours; foreign ones become INTERNAL with their cause.
  package init(wrapping error: any Error) {
    switch error {
    case let error as SkeinError: self = error
    case let fault as Fault: self.init(fault)
    case is CancellationError: self.init(.cancelled, "the task was cancelled", cause: error)
    default: self.init(.internalError, "\(error)", cause: error)
    }
  }
}
