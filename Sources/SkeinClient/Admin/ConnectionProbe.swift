package import NIOCore
import NIOPosix
import SkeinCore
import Transport
import Wire

/// One look at one address, for `skein doctor`: how far a connection gets, and what it finds.
package struct ConnectionProbe: Sendable {
  /// A connection that came up, and what the broker said on it.
  package struct Reached: Sendable {
    /// Name, TCP, TLS and the server's first frame together, in nanoseconds.
    package var connectNanoseconds: Int64
    /// The common name of the server's certificate.
    package var commonName: String?
    /// Its notAfter in seconds since 1970 UTC.
    package var certificateNotAfter: Int64?
    /// The shortest of some unary calls, in nanoseconds; nil when none was answered.
    package var roundTripNanoseconds: Int64?
    /// The broker's clock minus ours, in milliseconds, with half the round trip taken off.
    package var clockAheadMilliseconds: Int64?
    /// Why the broker refused the calls, e.g. UNAUTHENTICATED.
    package var refusal: SkeinError?
  }

  /// Where it ended.
  package struct Failure: Error, Sendable {
    /// What is wrong.
    package var message: String
    package var cure: String
    /// The broker was reached and refused our certificate.
    package var isRefusal: Bool
  }

  package let address: String
  package let result: Result<Reached, Failure>

  /// Looks at every address of the configuration, one after the other; bounded by its connect and
  /// request timeouts.
  package static func all(
    _ configuration: ClientConfiguration, group: any EventLoopGroup = .singletonMultiThreadedEventLoopGroup
  ) async -> [ConnectionProbe] {
    var probes: [ConnectionProbe] = []
    for address in configuration.addresses {
      do {
        let reached = try await probe(try Endpoint(address), configuration, group)
        probes.append(ConnectionProbe(address: address, result: .success(reached)))
      } catch {
        probes.append(ConnectionProbe(address: address, result: .failure(failure(error))))
      }
    }
    return probes
  }

  private static func probe(
    _ endpoint: Endpoint, _ configuration: ClientConfiguration, _ group: any EventLoopGroup
  ) async throws -> Reached {
    let tls = ClientTLS(configuration.tls, try configuration.token?.forCalls())
    let start = NIODeadline.now()
    let connection = try await GRPCConnection.connect(
      host: endpoint.host, port: endpoint.port, tls: tls, group: group,
      deadline: start + .nanoseconds(configuration.connectTimeout.nanosecondsClamped))
    var reached = Reached(
      connectNanoseconds: (.now() - start).nanoseconds, commonName: connection.peer.commonName,
      certificateNotAfter: connection.peer.certificateNotAfter)
    await measure(connection, configuration, &reached)
    await connection.close()
    return reached
  }

  /// Some calls, so that the first one's warm-up does not count.
  private static func measure(
    _ connection: GRPCConnection, _ configuration: ClientConfiguration, _ reached: inout Reached
  ) async {
    for _ in 0..<5 {
      let start = NIODeadline.now()
      do {
        let bytes = try await connection.unary(
          path: ClusterMethod.describe, message: OutboundMessage(head: DescribeClusterRequest().encoded()),
          deadline: start + .nanoseconds(configuration.requestTimeout.nanosecondsClamped))
        let took = (.now() - start).nanoseconds
        let ours = SystemClock().wallMilliseconds
        let reply = try DescribeClusterResponse(decoding: bytes, limits: .reply)
        guard took < reached.roundTripNanoseconds ?? .max else { continue }
        reached.roundTripNanoseconds = took
        // 0: a broker that is too old to say it.
        if reply.nowMs > 0 {
          reached.clockAheadMilliseconds = (reply.nowMs &- ours) &+ took / 2_000_000
        }
      } catch let failure as RPCFailure {
        reached.refusal = SkeinError(failure.status)
        return
      } catch {
        reached.refusal = SkeinError(wrapping: error)
        return
      }
    }
  }

  private static func failure(_ error: any Error) -> Failure {
    if let error = error as? SkeinError {
      return Failure(message: error.message, cure: "correct the context's address", isRefusal: false)
    }
    guard let failure = error as? ConnectFailure else {
      return Failure(
        message: "\(error)", cure: "check the PEM files that the context names", isRefusal: false)
    }
    return Failure(
      message: failure.message, cure: cure(failure.kind),
      isRefusal: failure.kind == .clientCertificateRefused)
  }

  private static func cure(_ kind: ConnectFailure.Kind) -> String {
    switch kind {
    case .refused: "start skeind there, or correct host and port"
    case .unreachable: "check the network, the firewall and the address"
    case .unknownHost: "correct the name, or the machine's resolver"
    case .timedOut: "check the firewall, and that skeind answers there; --connect-timeout waits longer"
    case .serverUntrusted: "name in `ca` the authority that signed the broker's certificate"
    case .serverExpired: "renew the broker's certificate, and check this machine's clock"
    case .hostnameMismatch:
      "use an address that the broker's certificate names, or have it issued for this one"
    case .clientCertificateRefused:
      "use a certificate that an authority of the broker's tls.client-authorities signed and that is valid now"
    case .notHTTP2: "that is no Skein broker, or a proxy that does not pass HTTP/2 through"
    case .tls: "check that the port is Skein's gRPC port (7600), not another service's"
    case .closed: "see the broker's log: it closed the connection at once"
    }
  }
}
