package import NIOCore

/// Every bound of the transport, with its unit, default, and what happens at the bound.
///
/// A plain value; set it before `bind` or `connect`.
package struct TransportLimits: Sendable {
  /// The longest message received, in bytes. Over it: RESOURCE_EXHAUSTED on the 5-byte prefix.
  package var maxMessageBytes = 16 << 20
  /// HTTP/2 receive window of a connection and of a stream, in bytes, once the peer is authenticated.
  package var connectionWindowBytes: Int32 = 16 << 20
  package var streamWindowBytes: Int32 = 4 << 20
  /// Received but unreleased bytes per connection from which the connection's own window is no
  /// longer returned. Below it a stream that stalls stops itself only.
  package var maxUnreleasedBytes = 64 << 20
  /// The largest HTTP/2 frame we accept, in bytes. Larger: FRAME_SIZE_ERROR, connection closed.
  package var maxFrameBytes: UInt32 = 256 << 10
  /// Open calls per connection. Over it: REFUSED_STREAM.
  package var maxConcurrentCalls: UInt32 = 1000
  /// Header list of one call, in HTTP/2's measure (name + value + 32 each). Over it: connection closed.
  package var maxHeaderListBytes = 16 << 10

  /// Outbound bytes of one call at which `isWritable` turns false, and below which `writable()` follows.
  package var callHighWaterBytes = 1 << 20
  package var callLowWaterBytes = 256 << 10
  /// Outbound bytes of one call at which it is reset with RESOURCE_EXHAUSTED: its sender ignores `isWritable`.
  package var maxQueuedBytesPerCall = 64 << 20
  /// Encrypted bytes waiting for one socket at which no more are made, and below which it goes on.
  package var socketHighWaterBytes = 512 << 10
  package var socketLowWaterBytes = 128 << 10

  /// Connections of a server. Over it: closed at once.
  package var maxConnections = 10_000
  /// Connections whose TLS handshake is not complete. Over it: closed at once.
  package var maxHandshakes = 256
  /// From accept (or TCP connect) to the end of the handshake. Past it: closed.
  package var handshakeTimeout: TimeAmount = .seconds(10)
  /// A connection without calls and without bytes for this long is closed with GOAWAY.
  package var idleTimeout: TimeAmount = .minutes(15)
  /// Silence after which a PING is sent, and how long its answer may take before the peer is dead.
  package var keepaliveInterval: TimeAmount = .seconds(30)
  package var keepaliveTimeout: TimeAmount = .seconds(15)
  /// A message between its prefix and its end holds reserved memory. While there is credit for it, it must come
  /// with `minBytesPerSecond` over each such stretch. Else (and at most one stretch later): DEADLINE_EXCEEDED.
  package var messageStallTimeout: TimeAmount = .seconds(30)
  /// A server's call whose answers wait must move with `minBytesPerSecond`, or to the last byte that waited,
  /// over each such stretch; a server's socket must take something. Else (and at most one stretch later) the
  /// call ends with DEADLINE_EXCEEDED, or the connection. Short of that a slow reader costs what its call may
  /// queue.
  package var outboundStallTimeout: TimeAmount = .minutes(5)
  /// The least rate in both cases, in bytes per second.
  package var minBytesPerSecond = 256
  /// From the first byte of a frame (but DATA) or header block to its last, and from TLS to the first SETTINGS.
  /// Past it (and at most one stretch later): connection closed.
  package var headerTimeout: TimeAmount = .seconds(10)
  /// Age at which a server's connection gets GOAWAY, spread by a tenth up and down; nil: none. Clients come
  /// back, perhaps elsewhere.
  package var maxConnectionAge: TimeAmount?
  /// Age at which a server's call is asked to end (`CallHandler.shouldEnd`), spread likewise; nil: none.
  package var maxCallAge: TimeAmount?
  /// From that GOAWAY, or that request, to the end by force. Also of a connection whose client certificate has
  /// run out or been revoked.
  package var goAwayGrace: TimeAmount = .seconds(10)
  /// How long a closing connection may take to send its last bytes.
  package var closeTimeout: TimeAmount = .seconds(2)

  /// RST_STREAM frames from the peer: a bucket of this many, refilled per second (CVE-2023-44487).
  package var resetBurst: UInt64 = 1000
  package var resetsPerSecond: UInt64 = 200
  /// CONTINUATION frames per header block. Over it: connection closed.
  package var maxContinuations = 8
  /// Frames of no use (empty DATA, PRIORITY, unknown types, HEADERS of old streams) in one bucket, refilled
  /// per second; resets that the peer provokes in another of the same size. SETTINGS, PING and WINDOW_UPDATE
  /// share one ten times as deep and refilled fifty times as fast. Over it: connection closed.
  package var junkFrameBurst: UInt64 = 1000
  package var junkFramesPerSecond: UInt64 = 200
  /// How long a message may wait for the memory budget before its call is refused. Meanwhile the
  /// connection is not read.
  package var budgetWait: TimeAmount = .seconds(5)

  package init() {}
}
