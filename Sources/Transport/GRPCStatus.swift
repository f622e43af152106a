package import SkeinCore

/// How a call ended: the code, a sentence, and the serialized `google.rpc.Status` if there is one.
///
/// A plain value; any thread. `Wire` builds and reads `details`, Transport only carries them.
package struct GRPCStatus: Error, Sendable, Hashable, CustomStringConvertible {
  package var code: StatusCode
  package var message: String
  /// Serialized `google.rpc.Status`, sent as `grpc-status-details-bin`. Empty: none.
  package var details: [UInt8]
  /// Client side only, never on the wire: the server definitely did not process the call (refused
  /// stream, above the last id of a GOAWAY, or never sent), so that a retry repeats nothing (R42).
  package var isDefinitelyUnprocessed: Bool
  /// Server side only, never on the wire: why the transport itself ended the call.
  package var cause: Cause?

  /// What a server's transport refuses by itself; `ServerConfiguration.explain` puts it into the
  /// service's own words.
  package enum Cause: Sendable, Hashable {
    case messageTooLarge(limit: Int)
    case noMemory
    case methodUnknown
    case encodingUnsupported
    /// Framing or compression that breaks gRPC's rules.
    case malformedFraming
    /// A header of gRPC's own, or metadata, that cannot be read.
    case malformedRequest(header: String)
    case deadlinePassed
    /// A token that is missing, malformed, or ended.
    case credentialInvalid
    case authenticatorUnavailable
    /// It sends or reads below the least rate.
    case peerTooSlow
  }

  package init(
    _ code: StatusCode, _ message: String = "", details: [UInt8] = [],
    isDefinitelyUnprocessed: Bool = false, cause: Cause? = nil
  ) {
    self.code = code
    self.message = message
    self.details = details
    self.isDefinitelyUnprocessed = isDefinitelyUnprocessed
    self.cause = cause
  }

  package static let ok = GRPCStatus(.ok)

  package var description: String { message.isEmpty ? code.name : "\(code.name): \(message)" }
}

/// A unary call that did not return a message; what `GRPCConnection.unary` throws.
package struct RPCFailure: Error, Sendable, Hashable, CustomStringConvertible {
  package var status: GRPCStatus
  package var trailers: Metadata

  package init(_ status: GRPCStatus, trailers: Metadata = Metadata()) {
    self.status = status
    self.trailers = trailers
  }

  /// Serialized `google.rpc.Status`, or empty.
  package var details: [UInt8] { status.details }
  package var description: String { status.description }
}
