import PluginPackage
import SkeinCore

/// Why a call into a plug-in has no answer, before it is told in the words of its kind.
enum CallFailure: Error, Sendable {
  /// It did something that no plug-in may do, or died doing it.
  case fault(PluginFaultRecord.Kind, String)
  /// It was not asked.
  case unavailable(String, retryAfterMilliseconds: Int64)
  case quarantined(String)
  /// It answered with this status.
  case status(Int32)
  /// The load or `create` refused.
  case refused(check: String, String)
}

extension CallFailure {
  /// For publishers and operators.
  func partitionerFault(_ reference: PluginReference) -> Fault {
    let metadata = ["plugin": reference.description]
    switch self {
    case .fault(let kind, let detail):
      return Fault(
        .pluginFault, "the partitioner \(reference) failed (\(kind.rawValue)): \(detail)",
        metadata: metadata.merging(["fault": kind.rawValue]) { a, _ in a }, retryAfterMilliseconds: 100)
    case .unavailable(let why, let wait):
      return Fault(
        .partitionerUnavailable, "the partitioner \(reference) does not answer: \(why)", metadata: metadata,
        retryAfterMilliseconds: wait)
    case .quarantined(let why): return Self.quarantine(reference, why)
    case .status(let status):
      return Fault(
        .pluginFault, "the partitioner \(reference) answered with status \(status)", metadata: metadata)
    case .refused(let check, let why): return Self.refusal(reference, check, why)
    }
  }

  /// For who wants to come in: fail closed, and say no more than needed.
  func authenticatorFault(_ reference: PluginReference) -> Fault {
    let metadata = ["plugin": reference.description]
    switch self {
    case .status(4):
      return Fault(.tokenInvalid, "the token is not valid; make a new one with `skein token create`")
    case .unavailable(let why, let wait):
      return Fault(
        .authenticatorUnavailable, "the authenticator \(reference) does not answer: \(why)",
        metadata: metadata,
        retryAfterMilliseconds: wait)
    case .fault(let kind, let detail):
      return Fault(
        .authenticatorUnavailable, "the authenticator \(reference) failed (\(kind.rawValue)): \(detail)",
        metadata: metadata, retryAfterMilliseconds: 100)
    case .quarantined(let why):
      return Fault(
        .authenticatorUnavailable, "the authenticator \(reference) is quarantined: \(why)", metadata: metadata
      )
    case .status(let status):
      return Fault(
        .authenticatorUnavailable, "the authenticator \(reference) answered with status \(status)",
        metadata: metadata, retryAfterMilliseconds: 100)
    case .refused(let check, let why):
      return Fault(
        .authenticatorUnavailable, "the authenticator \(reference) could not be loaded (\(check)): \(why)",
        metadata: metadata)
    }
  }

  /// For consumer groups.
  func offsetStoreFault(_ reference: PluginReference) -> Fault {
    let metadata = ["plugin": reference.description]
    switch self {
    case .status(4):
      return Fault(
        .conflict, "the offset store \(reference) refused it: a newer member epoch is stored",
        metadata: metadata)
    case .status(3):
      return Fault(
        .pluginFault, "the offset store \(reference) cannot do it now; nothing was changed",
        metadata: metadata,
        retryAfterMilliseconds: 100)
    case .unavailable(let why, let wait):
      return Fault(
        .pluginFault, "the offset store \(reference) does not answer: \(why)", metadata: metadata,
        retryAfterMilliseconds: wait)
    default: return partitionerFault(reference)
    }
  }

  /// For who makes an instance, of whatever kind.
  func makingFault(_ reference: PluginReference) -> Fault {
    switch self {
    case .unavailable(let why, let wait):
      return Fault(
        .pluginFault, "the plug-in \(reference) could not be started: \(why)",
        metadata: ["plugin": reference.description], retryAfterMilliseconds: wait)
    default: return partitionerFault(reference)
    }
  }

  static func quarantine(_ reference: PluginReference, _ why: String) -> Fault {
    Fault(
      .pluginQuarantined,
      "\(reference) is quarantined: \(why). Use another version, or release it with `skein plugin release \(reference)`",
      metadata: ["plugin": reference.description])
  }

  static func refusal(_ reference: PluginReference, _ check: String, _ why: String) -> Fault {
    if check == "config" {
      return Fault(
        .pluginConfigInvalid, "\(reference) refuses its configuration: \(why)",
        metadata: ["plugin": reference.description],
        violations: [.init(field: "config", description: why)])
    }
    return Fault(
      .pluginRefused, "\(reference) is not what its manifest says: \(why). Ask its author",
      metadata: [
        "plugin": reference.description, "check": check, "file": "plugin.so", "cure": "ask its author",
      ])
  }
}
