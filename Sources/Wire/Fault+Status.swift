package import SkeinCore

/// `Fault` ⇄ `google.rpc.Status`: what a fault is on the wire, and how a client gets it back.
///
/// Details: always `ErrorInfo{reason, domain: "skein", metadata}`, where the metadata also says
/// `outcome` (definite, unknown) and `retriable`; `BadRequest` when fields are at fault; `RetryInfo`
/// when there is a time to wait; `ResourceInfo` when the metadata name what it is about; `QuotaFailure`
/// with RESOURCE_EXHAUSTED. The last two say in the public vocabulary what the metadata say already.
extension Fault {
  /// The domain of our `ErrorInfo`.
  package static let domain = "skein"

  private static let typePrefix = "type.googleapis.com/google.rpc."
  private static let outcomeKey = "outcome"
  private static let retriableKey = "retriable"

  /// This fault as a `google.rpc.Status`, for replies that carry errors per item.
  package var status: Status {
    var info = metadata
    info[Self.outcomeKey] = reason.outcome == .definite ? "definite" : "unknown"
    info[Self.retriableKey] = reason.retriable ? "true" : "false"
    var details = [
      Self.detail("ErrorInfo", ErrorInfo(reason: reason.name, domain: Self.domain, metadata: info))
    ]
    if !violations.isEmpty {
      let fields = Self.bounded(violations).map {
        BadRequest.FieldViolation(field: $0.field, description: $0.description)
      }
      details.append(Self.detail("BadRequest", BadRequest(fieldViolations: fields)))
    }
    if let wait = retryAfterMilliseconds {
      let delay = DurationMessage(seconds: wait / 1000, nanos: Int32(wait % 1000) * 1_000_000)
      details.append(Self.detail("RetryInfo", RetryInfo(retryDelay: delay)))
    }
    if let resource {
      details.append(
        Self.detail(
          "ResourceInfo",
          ResourceInfo(resourceType: resource.type, resourceName: resource.name)))
    }
    if code == .resourceExhausted { details.append(Self.detail("QuotaFailure", quotaFailure)) }
    return Status(code: code.rawValue, message: Self.bounded(message), details: details)
  }

  // A status travels in trailers, and stock clients take 8 KiB of metadata: what a request can make
  // long is cut, so that the client hears of most instead of losing all.

  /// Of a message, in UTF-8 bytes.
  package static let maximumMessageBytes = 1_024
  /// Of the fields and descriptions of `BadRequest`.
  package static let maximumViolationBytes = 2_048

  private static func bounded(_ message: String) -> String {
    guard message.utf8.count > maximumMessageBytes else { return message }
    var kept = ""
    var bytes = 0
    for character in message {
      bytes += character.utf8.count
      if bytes > maximumMessageBytes - 3 { break }
      kept.append(character)
    }
    return kept + "…"
  }

  private static func bounded(_ violations: [FieldViolation]) -> [FieldViolation] {
    var kept: [FieldViolation] = []
    var bytes = 0
    for violation in violations {
      bytes += violation.field.utf8.count + violation.description.utf8.count
      guard bytes <= maximumViolationBytes || kept.isEmpty else {
        let more = violations.count - kept.count
        kept.append(FieldViolation(field: "…", description: "and \(more) more; correct these first"))
        return kept
      }
      kept.append(
        FieldViolation(field: bounded(violation.field), description: bounded(violation.description)))
    }
    return kept
  }

  private var quotaFailure: QuotaFailure {
    let subject = resource.map { "\($0.type):\($0.name)" } ?? "broker"
    return QuotaFailure(violations: [
      QuotaFailure.Violation(
        subject: subject, description: message, quotaMetric: "skein/\(reason.name)",
        quotaValue: metadata["limit"].flatMap { Int64($0) } ?? 0)
    ])
  }

  /// The serialized status, for the trailer `grpc-status-details-bin`.
  package var statusMessage: [UInt8] { status.encoded() }

  /// The fault behind a `google.rpc.Status` of a peer. Never fails: what the details do not say is
  /// taken from the code, and a reason that this version does not know keeps its name and code.
  package init(_ status: Status) {
    var found: (info: ErrorInfo?, violations: [FieldViolation], retry: Int64?) = (nil, [], nil)
    for detail in status.details {
      switch detail.typeUrl {
      case Self.typePrefix + "ErrorInfo":
        found.info = found.info ?? (try? ErrorInfo(decoding: detail.value))
      case Self.typePrefix + "BadRequest":
        let request = try? BadRequest(decoding: detail.value)
        found.violations += (request?.fieldViolations ?? []).map {
          FieldViolation(field: $0.field, description: $0.description)
        }
      case Self.typePrefix + "RetryInfo":
        found.retry = (try? RetryInfo(decoding: detail.value))?.retryDelay.flatMap(Self.milliseconds)
      default: break
      }
    }
    let code = StatusCode(rawValue: status.code) ?? .unknown
    var metadata = found.info?.metadata ?? [:]
    let outcome = metadata.removeValue(forKey: Self.outcomeKey)
    let retriable = metadata.removeValue(forKey: Self.retriableKey)
    self.init(
      Self.reason(found.info, code: code, outcome: outcome, retriable: retriable), status.message,
      metadata: metadata, violations: found.violations, retryAfterMilliseconds: found.retry)
  }

  /// The fault of a finished call, from its trailers.
  /// - Parameter statusMessage: `grpc-status-details-bin`; empty or undecodable means that only the
  ///   code and the message are known.
  package init(statusMessage: [UInt8], code: StatusCode, message: String) {
    if !statusMessage.isEmpty, let status = try? Status(decoding: statusMessage, limits: .reply),
      status.code == code.rawValue
    {
      self.init(status)
    } else {
      self.init(Status(code: code.rawValue, message: message))
    }
  }

  private static func reason(
    _ info: ErrorInfo?, code: StatusCode, outcome: String?, retriable: String?
  ) -> Reason {
    guard let info, info.domain == domain, !info.reason.isEmpty else { return unexplained(code) }
    if let known = Reason.named(info.reason), known.code == code { return known }
    return Reason(
      info.reason, code, outcome == "definite" ? .definite : .unknown, retriable: retriable == "true",
      "A reason that this version does not know; the message says more.")
  }

  /// An error without a reason of ours: from a proxy, or from the gRPC library itself.
  private static func unexplained(_ code: StatusCode) -> Reason {
    switch code {
    case .cancelled: .cancelled
    case .deadlineExceeded: .deadlineExceeded
    case .unimplemented: .methodUnknown
    case .unauthenticated: .unauthenticated
    case .permissionDenied: .permissionDenied
    case .unavailable: .connectionLost
    case .internal: .internalError
    default:
      Reason(
        code.name, code, .unknown, retriable: code == .aborted,
        "The peer gave no reason, only the code; the message says more.")
    }
  }

  private static func detail(_ name: String, _ message: some WireMessage) -> AnyMessage {
    AnyMessage(typeUrl: typePrefix + name, value: message.encoded())
  }

  /// Rounded up, so that a client never comes back too early; nil if negative or absurd.
  private static func milliseconds(_ delay: DurationMessage) -> Int64? {
    guard (0...315_576_000_000).contains(delay.seconds), (0..<1_000_000_000).contains(delay.nanos) else {
      return nil
    }
    return delay.seconds * 1000 + (Int64(delay.nanos) + 999_999) / 1_000_000
  }
}
