import Logging
import NIOCore
package import SkeinCore
import Transport

/// The listener whose clients show a bearer token instead of a certificate: its server, who judges, and the watch
/// over its certificates. It is up also while nobody can judge, and then refuses.
struct TokenListener: Sendable {
  let server: GRPCServer
  let authenticator: TokenAuthenticator
  let certificates: CertificateWatch
  let address: String

  /// - Parameter serving: as on the listener with client certificates.
  static func start(
    _ configuration: TokenListenerConfiguration, serving: ServerConfiguration,
    authenticator: TokenAuthenticator, group: any EventLoopGroup, time: any TimeSource, logger: Logger,
    router: Router
  ) async throws -> TokenListener {
    await authenticator.refresh()
    var serving = serving
    serving.tls.requiresClientCertificate = false
    var authentication = ServerAuthentication(authenticator: authenticator)
    authentication.wallMilliseconds = { time.wallMilliseconds }
    serving.authentication = authentication
    let server = try GRPCServer(
      configuration: serving, group: group, router: { router.handler(for: $0) })
    // Weak: the server keeps the authenticator.
    authenticator.watch { [weak server] gone in
      server?.credentialsChanged { gone.contains(.init(tenant: $0.tenant, principal: $0.principal)) }
    }
    let port = try await server.bind(host: configuration.host, port: configuration.port)
    return TokenListener(
      server: server, authenticator: authenticator,
      certificates: CertificateWatch(tls: serving.tls, server: server, logger: logger),
      address: Broker.hostPort(configuration.host, port))
  }
}

/// Where callers with tokens connect, and who judges them.
package struct TokenListenerConfiguration: Sendable {
  package var host: String
  /// 0 = any free one.
  package var port: Int
  /// `ID@VERSION` of an installed plug-in of kind `skein.authenticator/1`.
  package var authenticator: String

  package init(host: String, port: Int, authenticator: String) {
    self.host = host
    self.port = port
    self.authenticator = authenticator
  }

  /// The two settings, which go together.
  /// - Parameter address: nil: `token-listen` is empty.
  /// - Throws: `INVALID_REQUEST`: a listener that asks nobody who comes is refused, and so is a judge of nobody.
  package static func checked(
    _ address: (host: String, port: Int)?, authenticator: String
  ) throws(Fault) -> TokenListenerConfiguration? {
    switch (address, authenticator.isEmpty) {
    case (nil, true): return nil
    case (nil, false):
      throw Fault(
        .invalidRequest,
        "token-authenticator is set and token-listen is not: nobody would be asked; set both, or neither")
    case (_?, true):
      throw Fault(
        .invalidRequest,
        "token-listen is set and token-authenticator is not: nobody could judge a token; set it to the ID@VERSION of an installed authenticator"
      )
    case (let address?, false):
      return TokenListenerConfiguration(
        host: address.host, port: address.port, authenticator: authenticator)
    }
  }
}
