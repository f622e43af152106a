package import NIOCore
package import SkeinCore

/// The application's side of one call, on server and client alike.
///
/// Every method runs on the event loop of the call's connection, never re-entrantly from a verb of `Call`
/// with two exceptions, which call `closed` before they return: `cancel()` on a client, and a `send` that
/// exceeds `TransportLimits.maxQueuedBytesPerCall`.
package protocol CallHandler: AnyObject {
  /// Client: the server's initial metadata. Not called for a header-only answer. Never on a server.
  func receivedHeaders(_ metadata: Metadata)
  /// One whole message. Its flow-control credit is held until `call.release(message.count)`.
  func received(_ message: SharedBytes)
  /// The peer will send no more messages. On a client `closed` follows at once.
  func receivedEnd()
  /// The call is over; nothing follows, and the call holds the handler no longer.
  /// Client: always, exactly once, with the final status. Server: at most once, when the call ended
  /// otherwise than by its own `finish` (cancelled, deadline passed, connection lost, message refused).
  func closed(_ status: GRPCStatus, _ trailers: Metadata)
  /// The outbound queue fell below the low-water mark after `isWritable` was false.
  func writable()
  /// Server: the call or its connection is too old, or its client's certificate has ended. Say good-bye and
  /// finish; what is left at the deadline ends with UNAVAILABLE.
  func shouldEnd(by deadline: NIODeadline)
  /// The socket read that delivered something to this call has ended: flush what you batched.
  func readIdle()
}

extension CallHandler {
  package func receivedHeaders(_ metadata: Metadata) {}
  package func receivedEnd() {}
  package func writable() {}
  package func shouldEnd(by deadline: NIODeadline) {}
  package func readIdle() {}
}
