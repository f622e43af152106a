import Logging
import SkeinCore
import Transport

/// Chooses the handler of a call: service, principal, method. Threading: any connection's loop.
struct Router: Sendable {
  let context: BrokerContext
  let health: HealthService

  static let services: Set<String> = [
    "skein.v1.Producer", "skein.v1.Consumer", "skein.v1.Topics", "skein.v1.Cluster",
    "skein.v1.Groups", "skein.v1.Plugins", "skein.v1.Access",
    "grpc.health.v1.Health",
  ]

  /// Services that decide who may come in and what runs: not for callers with a token, which are programs that
  /// carry data.
  static let needsCertificate: Set<String> = ["skein.v1.Access", "skein.v1.Plugins"]

  func handler(for call: Call) -> (any CallHandler)? {
    let parts = call.path.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0].isEmpty else { return nil }
    let service = String(parts[1])
    let method = String(parts[2])
    if service == "grpc.health.v1.Health" { return health.handler(method: method, call: call) }
    guard Self.services.contains(service) || ReflectionService.names.contains(service) else { return nil }
    do throws(Fault) {
      let principal = try Principal(call.peer)
      guard context.tenants.contains(principal.tenant) else {
        throw Fault(
          .permissionDenied,
          "principal \"\(principal.name)\" belongs to tenant \"\(principal.tenant.rawValue)\", which this broker does not have"
        )
      }
      guard call.peer.bearer == nil || !Self.needsCertificate.contains(service) else {
        throw Fault(
          .permissionDenied,
          "\(service) is not for callers with a token; come with a client certificate, on the other listener")
      }
      let isAlwaysOpen = service == "skein.v1.Cluster" && ClusterService.always.contains(method)
      if !isAlwaysOpen, let refusal = Self.refusal(in: context.health.phase) { throw refusal }
      context.metrics.calls.add(1)
      switch service {
      case "skein.v1.Producer":
        return ProducerService(context: context).handler(method: method, call: call, principal: principal)
      case "skein.v1.Consumer":
        return ConsumerService(context: context).handler(method: method, call: call, principal: principal)
      case "skein.v1.Topics":
        return TopicsService(context: context).handler(method: method, call: call, principal: principal)
      case "skein.v1.Groups":
        return GroupsService(context: context).handler(method: method, call: call, principal: principal)
      case "skein.v1.Plugins":
        return PluginsService(context: context).handler(method: method, call: call, principal: principal)
      case "skein.v1.Access":
        return AccessService(context: context).handler(method: method, call: call, principal: principal)
      case "skein.v1.Cluster":
        return ClusterService(context: context).handler(method: method, call: call, principal: principal)
      default: return ReflectionService(services: Self.services).handler(method: method, call: call)
      }
    } catch {
      context.metrics.callsRefused.add(1)
      return RefusedHandler(call, error)
    }
  }
}

extension Router {
  /// What a call is told while the broker does not serve.
  static func refusal(in phase: HealthState.Phase) -> Fault? {
    switch phase {
    case .ready: nil
    case .starting:
      Fault(.notReady, "the broker is still starting; retry after 1 s", retryAfterMilliseconds: 1_000)
    case .draining, .failed:
      Fault(.draining, "the broker is stopping; connect again after 1 s", retryAfterMilliseconds: 1_000)
    }
  }
}

/// Answers a call that may not proceed.
private final class RefusedHandler: CallHandler {
  private let call: Call

  init(_ call: Call, _ fault: Fault) {
    self.call = call
    call.finish(GRPCStatus(fault))
  }

  func received(_ message: SharedBytes) { call.release(message.count) }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {}
}
