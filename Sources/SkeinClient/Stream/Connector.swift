import NIOCore
import SkeinCore
import Synchronization
import Transport

/// Opens connections to the configured addresses, one after the other until one answers.
final class Connector: Sendable {
  let group: any EventLoopGroup
  private let endpoints: [Endpoint]
  private let tls: ClientTLS
  private let limits = TransportLimits()
  private let timeout: TimeAmount
  private let next: Atomic<Int>

  init(
    _ configuration: ClientConfiguration, group: any EventLoopGroup, random: any RandomSource
  ) throws(SkeinError) {
    var endpoints: [Endpoint] = []
    for address in configuration.addresses { endpoints.append(try Endpoint(address)) }
    guard !endpoints.isEmpty else {
      throw SkeinError(
        .invalidRequest, "no address is given; ClientConfiguration.addresses needs at least one")
    }
    self.endpoints = endpoints
    self.group = group
    let identity = configuration.tls
    tls = ClientTLS(
      trustRoots: PEMSource(identity.ca), certificateChain: PEMSource(identity.certificate),
      privateKey: PEMSource(identity.key), serverName: identity.serverName)
    timeout = .nanoseconds(configuration.connectTimeout.nanosecondsClamped)
    next = Atomic(Int(random.next() % UInt64(endpoints.count)))
  }

  /// A new connection to the first address that answers; each call begins with the next one.
  /// - Throws: UNREACHABLE (definite, retriable) with what each address said, or a TLS refusal.
  func connect() async throws(SkeinError) -> GRPCConnection {
    let first = next.add(1, ordering: .relaxed).oldValue
    var failures: [SkeinError] = []
    for step in 0..<endpoints.count {
      let endpoint = endpoints[(first &+ step) % endpoints.count]
      do {
        return try await GRPCConnection.connect(
          host: endpoint.host, port: endpoint.port, tls: tls, limits: limits, group: group,
          deadline: .now() + timeout)
      } catch {
        failures.append(Self.failure(error, endpoint))
      }
      if Task.isCancelled { break }
    }
    throw Self.combined(failures)
  }

  /// The failure to report: one that waiting does not cure before others, with what every address said.
  private static func combined(_ failures: [SkeinError]) -> SkeinError {
    guard var chosen = failures.first(where: { !$0.isRetriable }) ?? failures.last else {
      return SkeinError(.unreachable, "no address was tried")
    }
    if failures.count > 1 {
      chosen.message = "no address could be used: " + failures.map(\.message).joined(separator: " ")
      chosen.metadata["addresses"] = failures.compactMap { $0.metadata["address"] }.joined(separator: ",")
    }
    return chosen
  }

  private static func failure(_ error: any Error, _ endpoint: Endpoint) -> SkeinError {
    if error is TLSConfigurationError {
      return SkeinError(.invalidRequest, "TLS identity: \(error)", cause: error)
    }
    let kind = (error as? ConnectFailure)?.kind
    if kind == .clientCertificateRefused {
      return SkeinError(
        .unauthenticated,
        "\(endpoint): \(error). Use a certificate that the broker's client CA has signed.",
        metadata: ["address": endpoint.description], cause: error)
    }
    // Some of the transport's sentences name the address first, or end with a question of their own.
    let text = "\(error)".trimmingPrefix("\(endpoint): ")
    let end = text.hasSuffix("?") ? "" : ". Check the address, and that skeind runs there."
    var failure = SkeinError(
      .unreachable, "cannot connect to \(endpoint): \(text)\(end)",
      metadata: ["address": endpoint.description], cause: error)
    // A server that we must not trust does not become trusted by waiting.
    switch kind {
    case .serverUntrusted, .serverExpired, .hostnameMismatch, .notHTTP2, .unknownHost:
      failure.isRetriable = false
    default: break
    }
    return failure
  }
}

extension PEMSource {
  init(_ pem: PEM) {
    switch pem {
    case .file(let path): self = .file(path)
    case .bytes(let bytes): self = .bytes(bytes)
    }
  }
}
