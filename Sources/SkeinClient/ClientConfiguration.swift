/// A PEM text: the path of a file, or its bytes.
public enum PEM: Sendable, Hashable {
  case file(String)
  case bytes([UInt8])
}

/// Whom the client trusts and what it shows. Skein is reached only over TLS. The SAN URI
/// `skein:<tenant>/<principal>` of a client's certificate is its identity; without one it needs a token
/// (`ClientConfiguration.token`) and a broker that listens for those.
public struct TLSIdentity: Sendable, Hashable {
  /// Authorities that sign the brokers' certificates.
  public var ca: PEM
  /// The client's certificate, then intermediates; nil: none.
  public var certificate: PEM?
  /// The certificate's private key, unencrypted.
  public var key: PEM?
  /// The name or IP that the broker's certificate must carry; nil: the host of the address.
  public var serverName: String?

  public init(ca: PEM, certificate: PEM, key: PEM, serverName: String? = nil) {
    self.ca = ca
    self.certificate = certificate
    self.key = key
    self.serverName = serverName
  }

  /// Without a certificate: `ClientConfiguration.token` says who calls.
  public init(ca: PEM, serverName: String? = nil) {
    self.ca = ca
    self.serverName = serverName
  }
}

/// Where the brokers are and how to reach them. Every duration is bounded; nothing hangs for ever.
public struct ClientConfiguration: Sendable {
  /// `host:port`, `[ipv6]:port`, or `host` (port 7600). Tried in turn, beginning anywhere.
  public var addresses: [String]
  public var tls: TLSIdentity
  /// Sent with every call, to brokers that listen for tokens (`token-listen`).
  public var token: BearerToken?
  /// TCP connect and TLS handshake with one address. Default 10 s.
  public var connectTimeout: Duration = .seconds(10)
  /// One unary call (`Admin`). Default 30 s.
  public var requestTimeout: Duration = .seconds(30)
  /// How long a producer, reader or consumer keeps trying to reach a broker before it gives up with
  /// `UNREACHABLE`: at its start, and after its stream broke. Default 60 s. A producer's delivery
  /// deadline may end it earlier.
  public var unreachableTimeout: Duration = .seconds(60)
  /// Whether a unary call waits for a broker that cannot be reached, up to `requestTimeout`, instead of failing
  /// with UNREACHABLE as soon as that is known. Default false. (Producers, readers and consumers always wait.)
  public var waitsForReady = false
  /// Event-loop threads of this client. Default 1; each producer and reader has a connection on one.
  public var eventLoopThreads = 1

  public init(addresses: [String], tls: TLSIdentity) {
    self.addresses = addresses
    self.tls = tls
  }

  public init(address: String, tls: TLSIdentity) { self.init(addresses: [address], tls: tls) }

  /// With a token and without a certificate.
  public init(address: String, ca: PEM, token: BearerToken) {
    self.init(addresses: [address], tls: TLSIdentity(ca: ca))
    self.token = token
  }
}

/// One address, parsed.
struct Endpoint: Sendable, Hashable, CustomStringConvertible {
  static let defaultPort = 7600
  let host: String
  let port: Int

  /// - Throws: INVALID_REQUEST naming what is wrong.
  init(_ text: String) throws(SkeinError) {
    var host = text[...]
    var port = Self.defaultPort
    if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
      host = text[text.index(after: text.startIndex)..<end]
      let rest = text[text.index(after: end)...]
      if rest.hasPrefix(":") { port = Int(rest.dropFirst()) ?? -1 } else if !rest.isEmpty { port = -1 }
    } else if let colon = text.lastIndex(of: ":"), text.firstIndex(of: ":") == colon {
      host = text[..<colon]
      port = Int(text[text.index(after: colon)...]) ?? -1
    }
    let hasBracket = host.contains { $0 == "[" || $0 == "]" }
    guard !host.isEmpty, !hasBracket, (1...65535).contains(port) else {
      throw SkeinError(
        .invalidRequest,
        "\"\(text)\" is not an address; give HOST:PORT, [IPV6]:PORT or HOST (port \(Self.defaultPort))")
    }
    self.host = String(host)
    self.port = port
  }

  var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
