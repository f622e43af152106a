package import NIOCore
package import SkeinCore

/// What a `GRPCChannel` is made of. A plain value with the defaults that suit one service.
package struct ChannelConfiguration: Sendable {
  /// `host:port` pairs of one service. An attempt to connect tries them all until one answers, and begins with
  /// another one each time.
  package struct Endpoint: Sendable, Hashable {
    package var host: String
    package var port: Int

    package init(host: String, port: Int) {
      self.host = host
      self.port = port
    }
  }

  /// How long to wait before the next attempt to connect, and between retries of a call: attempt *n* waits
  /// a random time between half of and the whole of `first * 2^n`, at most `limit`.
  package struct Backoff: Sendable {
    package var first: TimeAmount = .milliseconds(100)
    package var limit: TimeAmount = .seconds(20)

    package init() {}

    /// The wait after so many failures in a row (0 for the first).
    func delay(failures: Int, random: UInt64) -> TimeAmount {
      let first = max(1, self.first.nanoseconds)
      let doubled = first.multipliedReportingOverflow(by: 1 << Int64(min(max(failures, 0), 30)))
      let ceiling = max(1, min(limit.nanoseconds, doubled.overflow ? .max : doubled.partialValue))
      let half = max(1, ceiling / 2)
      return .nanoseconds(half + Int64(random % UInt64(half)))
    }
  }

  package var endpoints: [Endpoint]
  package var tls: ClientTLS
  /// Of each connection; keepalive is among them.
  package var limits = TransportLimits()
  package var budget: MemoryBudget?
  /// Open connections at once.
  package var maxConnections = 4
  /// Calls on every open connection from which one more is opened; fewer if the server allows fewer.
  package var callsPerConnection = 100
  /// Calls that may wait for a connection. Over it: `ChannelError.tooManyWaiting`.
  package var maxWaiting = 10_000
  /// For one endpoint: name, TCP, TLS and the first frame.
  package var connectTimeout: TimeAmount = .seconds(10)
  package var backoff = Backoff()
  /// A connection that is lost sooner than this counts as a failed attempt, so that a server which accepts and
  /// hangs up is not called again at once.
  package var stableAfter: TimeAmount = .seconds(5)
  /// Attempts of one unary call, the first included; 1 turns retries off.
  package var maxAttempts = 4
  /// Retries that may be made at once over all calls; ten successes earn one (a channel that only fails does
  /// not multiply its load).
  package var retryBudget = 10
  /// Whether the server says that it applied nothing, beside what the transport knows itself: a service marks
  /// that in its details. Any thread.
  package var isDefinite: @Sendable (GRPCStatus) -> Bool = { _ in false }
  package var log: TransportLog?

  package init(endpoints: [Endpoint], tls: ClientTLS) {
    self.endpoints = endpoints
    self.tls = tls
  }
}

/// Why a channel gives no connection, beside `ConnectFailure` and `TLSConfigurationError`.
package enum ChannelFailure: Error, Sendable, CustomStringConvertible {
  case closed
  case tooManyWaiting(limit: Int)
  /// The deadline passed; what the last attempt said, if there was one.
  case deadlinePassed(last: (any Error)?)
  case noEndpoints

  package var description: String {
    switch self {
    case .closed: "the channel is closed"
    case .tooManyWaiting(let limit): "\(limit) calls wait for a connection already"
    case .deadlinePassed(let last):
      "no connection came up before the deadline" + (last.map { ": \($0)" } ?? "")
    case .noEndpoints: "the channel has no endpoints"
    }
  }
}

/// What a channel is doing, for people and probes.
package enum ChannelState: Sendable {
  /// No connection, and none is needed.
  case idle
  case connecting
  case ready(connections: Int)
  /// The last attempt failed; the next is made when it is needed, not before `retryAt`.
  case backingOff(last: any Error, retryAt: NIODeadline)
  case closed
}
