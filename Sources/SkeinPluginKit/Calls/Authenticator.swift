/// What is known of a client before it says a word.
public struct Peer: Sendable, Hashable {
  /// DER, the client's first; empty: it showed none.
  public var certificates: [[UInt8]]
  /// SNI; empty: none.
  public var serverName: String
  /// "127.0.0.1:50122".
  public var address: String
  /// 32 bytes that both ends of this TLS connection know, and nobody else (RFC 5705).
  public var tlsExporter: [UInt8]

  public init(
    certificates: [[UInt8]] = [], serverName: String = "", address: String = "", tlsExporter: [UInt8] = []
  ) {
    self.certificates = certificates
    self.serverName = serverName
    self.address = address
    self.tlsExporter = tlsExporter
  }
}

/// One step of an exchange.
public struct AuthenticationStep: Sendable, Hashable {
  /// Names the exchange from its first step to `end`.
  public var exchange: UInt64
  /// "bearer", "scram-sha-256" …
  public var mechanism: String
  public var peer: Peer
  /// What the client sent: for "bearer" the token.
  public var message: [UInt8]

  public init(exchange: UInt64, mechanism: String, peer: Peer, message: [UInt8]) {
    self.exchange = exchange
    self.mechanism = mechanism
    self.peer = peer
    self.message = message
  }
}

/// Who a client is.
public struct Principal: Sendable, Hashable {
  /// 1 to 63 of a-z 0-9 . _ -
  public var name: String
  /// Empty: "default".
  public var tenant: String
  public var groups: [String]
  /// Until when this holds, milliseconds since 1970-01-01 UTC; nil: as long as the connection lives.
  public var expiresMilliseconds: Int64?

  public init(name: String, tenant: String = "", groups: [String] = [], expiresMilliseconds: Int64? = nil) {
    self.name = name
    self.tenant = tenant
    self.groups = groups
    self.expiresMilliseconds = expiresMilliseconds
  }
}

/// How a step ended well. A refusal is an error: `PluginError.denied`.
public enum AuthenticationAnswer: Sendable, Hashable {
  case principal(Principal)
  /// To be sent to the client, whose answer is the next step.
  case challenge([UInt8])
}

/// Who calls. A final class or an actor; steps are called concurrently, each in a task that is cancelled when the host
/// gives up. Whatever goes wrong (an error, no answer in time, a crash) refuses the client.
public protocol Authenticator: Sendable {
  init(_ context: PluginContext) throws
  func step(_ step: AuthenticationStep, _ call: PluginCall) async throws -> AuthenticationAnswer
  /// The exchange is over; forget it. Must not block. The default does nothing.
  func end(_ exchange: UInt64)
}

extension Authenticator {
  public func end(_ exchange: UInt64) {}
}

extension Plugin.Kind {
  public static func authenticator<A: Authenticator>(_ type: A.Type) -> Plugin.Kind {
    authenticator { try A($0) }
  }
}
