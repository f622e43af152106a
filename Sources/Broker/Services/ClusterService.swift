import SkeinCore
import Transport
import Wire

/// `skein.v1.Cluster`.
struct ClusterService: Sendable {
  let context: BrokerContext

  func handler(method: String, call: Call, principal: Principal) -> (any CallHandler)? {
    guard method == "Describe" else { return nil }
    let context = context
    return UnaryHandler(call) { message, reply in
      do throws(Fault) {
        _ = try DescribeClusterRequest(decoding: message)
        let broker = BrokerDescription(
          brokerID: context.identity.brokerID, address: context.health.address,
          version: context.identity.version, startedMs: context.identity.startedMilliseconds)
        reply.succeed(
          DescribeClusterResponse(
            clusterID: context.identity.clusterID, brokers: [broker],
            limits: Limits(context.limits), tenant: principal.tenant.rawValue,
            principal: principal.name, nowMs: context.time.wallMilliseconds
          ).encoded())
      } catch {
        reply.fail(error)
      }
    }
  }
}
