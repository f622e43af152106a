import NIOCore
import NIOPosix
import SkeinCore
import Synchronization
import Transport
import Wire

/// The way to the configured addresses: dedicated connections for streams, a pool for unary calls, and the
/// identity that both use from now on.
final class Connector: Sendable {
  let group: any EventLoopGroup
  /// Unary calls: retried where nothing was applied, on connections that come back by themselves.
  let channel: GRPCChannel
  private let endpoints: [Endpoint]
  private let limits = TransportLimits()
  private let timeout: TimeAmount
  private let next: Atomic<Int>
  private let tls: Mutex<ClientTLS>
  private let token: CallToken?
  /// The identity could be read once: then a file that cannot be read is being replaced.
  private let wasRead = Atomic<Bool>(false)

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
    token = try configuration.token?.forCalls()
    let tls = ClientTLS(configuration.tls, token)
    self.tls = Mutex(tls)
    timeout = .nanoseconds(configuration.connectTimeout.nanosecondsClamped)
    next = Atomic(Int(random.next() % UInt64(endpoints.count)))
    channel = GRPCChannel(
      Self.pool(endpoints, tls, limits, timeout), group: group, random: random)
  }

  private static func pool(
    _ endpoints: [Endpoint], _ tls: ClientTLS, _ limits: TransportLimits, _ timeout: TimeAmount
  ) -> ChannelConfiguration {
    var pool = ChannelConfiguration(
      endpoints: endpoints.map { .init(host: $0.host, port: $0.port) }, tls: tls)
    pool.limits = limits
    pool.connectTimeout = timeout
    // A broker that restarts is back within seconds; calls must not go on failing for longer.
    pool.backoff.first = .milliseconds(50)
    pool.backoff.limit = .seconds(2)
    pool.isDefinite = { status in
      let reason = Fault(statusMessage: status.details, code: status.code, message: status.message).reason
      return reason.outcome == .definite && reason.retriable
    }
    return pool
  }

  /// New connections show this identity; connections of now keep theirs until they end, those of the pool end
  /// with their last call.
  func replace(_ identity: TLSIdentity) {
    let new = ClientTLS(identity, token)
    tls.withLock { $0 = new }
    wasRead.store(false, ordering: .relaxed)
    channel.replace(tls: new)
  }

  /// The same identity, read again from its files.
  func reload() { channel.replace(tls: tls.withLock { $0 }) }

  /// A new connection to the first address that answers; each call begins with the next one.
  /// - Throws: UNREACHABLE (definite, retriable) with what each address said, or a TLS refusal.
  func connect() async throws(SkeinError) -> GRPCConnection {
    let first = next.add(1, ordering: .relaxed).oldValue
    let tls = tls.withLock { $0 }
    var failures: [SkeinError] = []
    for step in 0..<endpoints.count {
      let endpoint = endpoints[(first &+ step) % endpoints.count]
      do {
        let connection = try await GRPCConnection.connect(
          host: endpoint.host, port: endpoint.port, tls: tls, limits: limits, group: group,
          deadline: .now() + timeout)
        wasRead.store(true, ordering: .relaxed)
        return connection
      } catch {
        failures.append(failure(error, endpoint.description))
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

  /// One unary call. Every address is tried before it fails as unreachable.
  func unary(
    _ path: String, _ message: OutboundMessage, deadline: NIODeadline, waitsForReady: Bool
  ) async throws(SkeinError) -> SharedBytes {
    var isFirst = true
    while true {
      let generation = tokenGeneration
      do {
        let reply = try await channel.unary(
          path: path, message: message, deadline: deadline, waitsForReady: waitsForReady)
        wasRead.store(true, ordering: .relaxed)
        return reply
      } catch let failure as RPCFailure {
        let error = SkeinError(failure.status)
        // Nothing was applied. Once, and only with another token.
        guard isFirst, await hasNewToken(since: generation, after: error) else { throw error }
        isFirst = false
      } catch {
        throw failure(error, endpoints.map(\.description).joined(separator: ", "))
      }
    }
  }

  /// Whether a token was refused whose file holds another one by now: then the call is worth another try.
  /// - Parameter generation: `tokenGeneration` before the call.
  func hasNewToken(since generation: Int, after error: SkeinError) async -> Bool {
    guard let token, error.reason == Reason.tokenInvalid.name else { return false }
    return (try? await NIOThreadPool.singleton.runIfActive { token.changed(since: generation) }) ?? false
  }

  var tokenGeneration: Int { token?.generation ?? 0 }

  private func failure(_ error: any Error, _ endpoint: String) -> SkeinError {
    if error is CancellationError { return SkeinError(wrapping: error) }
    if error is TLSConfigurationError {
      guard wasRead.load(ordering: .relaxed) else {
        return SkeinError(.invalidRequest, "TLS identity: \(error)", cause: error)
      }
      return SkeinError(
        .unreachable,
        "TLS identity: \(error). It was read before: are its files being replaced? They are read again at the next attempt.",
        cause: error)
    }
    if case .deadlinePassed(let last?)? = error as? ChannelFailure { return failure(last, endpoint) }
    let kind = (error as? ConnectFailure)?.kind
    if kind == .clientCertificateRefused {
      return SkeinError(
        .unauthenticated,
        "\(endpoint): \(error). Use a certificate that the broker's client CA has signed.",
        metadata: ["address": endpoint], cause: error)
    }
    // Some of the transport's sentences name the address first, or end with a question of their own.
    let text = "\(error)".trimmingPrefix("\(endpoint): ")
    let end = text.hasSuffix("?") ? "" : ". Check the address, and that skeind runs there."
    var failure = SkeinError(
      .unreachable, "cannot connect to \(endpoint): \(text)\(end)",
      metadata: ["address": endpoint], cause: error)
    // A server that we must not trust does not become trusted by waiting.
    switch kind {
    case .serverUntrusted, .serverExpired, .hostnameMismatch, .notHTTP2, .unknownHost:
      failure.isRetriable = false
    default: break
    }
    return failure
  }
}

extension ClientTLS {
  init(_ identity: TLSIdentity, _ token: CallToken?) {
    self.init(
      trustRoots: PEMSource(identity.ca), certificateChain: identity.certificate.map { PEMSource($0) },
      privateKey: identity.key.map { PEMSource($0) }, serverName: identity.serverName)
    self.token = token
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
