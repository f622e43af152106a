import Gateway
import MetadataStore
import NIOPosix
import SkeinCore
import Transport

/// One broker: log, metadata, transport and services, composed. Everything with behaviour is in its
/// own type; here is the order of start and stop.
///
/// Start: metadata → log recovery → partitions → listeners → ready. Stop: not ready → `GoAway` on
/// streams → open calls end → listeners close → log closed cleanly → metadata closed.
package final class Broker: Sendable {
  package static let version = "0.1.0"

  let configuration: BrokerConfiguration
  let context: BrokerContext
  let store: SQLiteStore
  let server: GRPCServer
  let certificates: CertificateWatch
  let tokenListener: TokenListener?
  let gateway: JSONGateway
  let operations: OperationsServer
  let group: MultiThreadedEventLoopGroup
  let budget: MemoryBudget
  /// Where clients connect, and where probes do.
  package let address: String
  package let operationsAddress: String

  init(
    configuration: BrokerConfiguration, context: BrokerContext, store: SQLiteStore,
    server: GRPCServer, certificates: CertificateWatch, tokenListener: TokenListener?, gateway: JSONGateway,
    operations: OperationsServer,
    group: MultiThreadedEventLoopGroup,
    budget: MemoryBudget, port: Int
  ) {
    self.configuration = configuration
    self.context = context
    self.store = store
    self.server = server
    self.certificates = certificates
    self.tokenListener = tokenListener
    self.gateway = gateway
    self.operations = operations
    self.group = group
    self.budget = budget
    self.address = Self.hostPort(configuration.host, port)
    self.operationsAddress = Self.hostPort(configuration.operationsHost, operations.port)
  }

  /// Where callers with tokens connect.
  package var tokenAddress: String? { tokenListener?.address }

  package var health: HealthState { context.health }

  /// host:port, an IPv6 address in brackets.
  static func hostPort(_ host: String, _ port: Int) -> String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}
