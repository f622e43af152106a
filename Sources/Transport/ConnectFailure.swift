import NIOCore
import NIOPosix

/// Why a connection could not be made; thrown by `GRPCConnection.connect`.
package struct ConnectFailure: Error, Sendable, Equatable, CustomStringConvertible {
  package enum Kind: String, Sendable {
    /// Nobody listens there.
    case refused
    case unreachable
    /// The name does not resolve.
    case unknownHost
    case timedOut
    /// The server's certificate leads to no trusted authority.
    case serverUntrusted
    case serverExpired
    /// The server's certificate is trusted but names another host.
    case hostnameMismatch
    /// The server refused our certificate, or we had none to show.
    case clientCertificateRefused
    /// The server does not speak HTTP/2.
    case notHTTP2
    /// The peer speaks no TLS, or TLS failed otherwise.
    case tls
    /// Closed before it was ready.
    case closed
  }

  /// Waiting does not cure it: the server, or our certificate, is not what it should be.
  var isLasting: Bool {
    switch kind {
    case .serverUntrusted, .serverExpired, .hostnameMismatch, .clientCertificateRefused, .notHTTP2: true
    case .refused, .unreachable, .unknownHost, .timedOut, .tls, .closed: false
    }
  }

  package var kind: Kind
  package var message: String
  package var description: String { message }

  package init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  init(_ failure: TLSFailure?, closeReason: String) {
    guard let failure else {
      self.init(.closed, closeReason)
      return
    }
    let kind: Kind =
      switch failure.kind {
      case .untrusted, .noCertificate: .serverUntrusted
      case .expired: .serverExpired
      case .hostnameMismatch: .hostnameMismatch
      case .certificateRefused: .clientCertificateRefused
      case .alpn: .notHTTP2
      case .other: .tls
      }
    let text = kind == .clientCertificateRefused ? "the server refused the client certificate" : "TLS"
    self.init(kind, "\(text): \(failure.text)")
  }

  /// The error of a TCP connect.
  init(connecting error: any Error, to target: String) {
    switch error {
    case let failure as ConnectFailure: self = failure
    case let failure as NIOConnectionError where failure.connectionErrors.isEmpty:
      self.init(
        .unknownHost,
        "\(target): the name does not resolve (\(failure.dnsAError ?? failure.dnsAAAAError ?? error))")
    case let failure as NIOConnectionError:
      self.init(connecting: failure.connectionErrors[0].error, to: target)
    case ChannelError.connectTimeout: self.init(.timedOut, "\(target): no answer in time")
    case let failure as IOError where failure.errnoCode == 111:
      self.init(.refused, "\(target): connection refused; is the server running there?")
    default: self.init(.unreachable, "\(target): \(error)")
    }
  }
}
