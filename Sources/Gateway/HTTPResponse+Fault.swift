import SkeinCore
import Transport
import Wire

extension HTTPResponse {
  private static let jsonHeaders: [(name: String, value: String)] = [
    ("content-type", "application/json"), ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
  ]

  /// An answer of JSON text.
  init(json: [UInt8], status: Int = 200, reservation: MemoryBudget.Reservation? = nil) {
    self.init(status, headers: Self.jsonHeaders, body: SharedBytes(json, reservation: reservation))
  }

  /// A refusal: `google.rpc.Status` as JSON, with the HTTP status of its reason.
  init(_ fault: Fault) {
    self.init(fault, statusMessage: fault.statusMessage) { $0 }
  }

  /// - Parameters:
  ///   - statusMessage: the serialized `google.rpc.Status`, which may say more than `fault`.
  ///   - callersName: the name of a field in `BadRequest`, as the caller knows it.
  init(_ fault: Fault, statusMessage: [UInt8], callersName: (String) -> String) {
    var body: [UInt8] = []
    do throws(Fault) {
      guard let schema = MessageSchema.all["google.rpc.Status"] else { throw fault }
      var object = try JSONFromMessage.object(statusMessage, as: schema)
      Self.rename(&object, callersName)
      body = try JSONText.write(object)
    } catch {
      // Only if a status of our own making does not decode: the HTTP status still says what happened.
      body = Array(#"{"code":\#(fault.code.rawValue),"message":"\#(fault.reason.name)","details":[]}"#.utf8)
    }
    self.init(json: body, status: Self.status(of: fault))
    if let wait = fault.retryAfterMilliseconds {
      headers.append(("retry-after", String((wait + 999) / 1000)))
    }
    if let allow = fault.metadata["allow"] { headers.append(("allow", allow)) }
    if fault.reason == .encodingUnsupported { headers.append(("accept-encoding", "identity")) }
  }

  private static func rename(_ object: inout [String: JSONItem], _ callersName: (String) -> String) {
    guard case .array(let details)? = object["details"] else { return }
    object["details"] = .array(
      details.map { detail in
        guard case .object(var members) = detail, case .array(let violations)? = members["fieldViolations"]
        else {
          return detail
        }
        members["fieldViolations"] = .array(
          violations.map { violation in
            guard case .object(var members) = violation, case .string(let field)? = members["field"] else {
              return violation
            }
            members["field"] = .string(callersName(field))
            return .object(members)
          })
        return .object(members)
      })
  }

  /// The mapping of gRPC codes to HTTP (google.rpc.Code); reasons for which HTTP has a word of its own keep it.
  static func status(of fault: Fault) -> Int {
    switch fault.reason {
    case .httpMethodNotAllowed: return 405
    case .notAcceptable: return 406
    case .messageTooLarge: return 413
    case .mediaTypeUnsupported, .encodingUnsupported: return 415
    default: break
    }
    return switch fault.code {
    case .ok: 200
    case .invalidArgument, .failedPrecondition, .outOfRange: 400
    case .unauthenticated: 401
    case .permissionDenied: 403
    case .notFound: 404
    case .alreadyExists, .aborted: 409
    case .resourceExhausted: 429
    case .cancelled: 499
    case .unknown, .internal, .dataLoss: 500
    case .unimplemented: 501
    case .unavailable: 503
    case .deadlineExceeded: 504
    }
  }
}

extension SharedBytes {
  /// Copies `bytes` into memory that was charged to a budget.
  init(_ bytes: [UInt8], reservation: MemoryBudget.Reservation?) {
    let storage = SharedBytes.Storage(capacity: bytes.count, reservation: reservation)
    bytes.withUnsafeBytes { bytes in
      if let base = bytes.baseAddress { storage.base.copyMemory(from: base, byteCount: bytes.count) }
    }
    self.init(storage, offset: 0, count: bytes.count)
  }
}
