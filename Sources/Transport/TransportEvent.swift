/// Something that an operator may want to see; given to the log callback of server and client.
///
/// The callback runs on an event loop: it must not block. A plain value.
package struct TransportEvent: Sendable, CustomStringConvertible {
  package enum Kind: String, Sendable {
    /// TLS did not come about; `detail` says why in words.
    case handshakeFailed
    /// A bound on connections or handshakes was met; the new connection was closed.
    case connectionRefused
    /// The peer broke HTTP/2 or gRPC framing; the connection was closed.
    case protocolError
    /// The peer exceeded an abuse limit; the connection was closed.
    case abuse
    /// No answer to a PING; the connection was closed.
    case peerSilent
    /// Closed after the idle time.
    case idle
    /// The client certificate of an open connection has run out or was revoked; it is being closed.
    case certificateEnded
    /// A call came without a valid token, or the last one of a connection has ended.
    case authenticationRefused
    /// The peer sends or reads too slowly; the connection was closed.
    case tooSlow
  }

  package var kind: Kind
  /// `address:port` of the peer.
  package var remoteAddress: String
  package var detail: String

  package var description: String { "\(kind.rawValue) \(remoteAddress): \(detail)" }
}

/// Receives the events; runs on an event loop.
package typealias TransportLog = @Sendable (TransportEvent) -> Void
