package import NIOCore
import SkeinCore
package import Transport
import Wire

/// The metadata of a cluster: etcd, through Skein's own gRPC client.
///
/// It keeps to one connection and does not reconnect: once that is lost every call throws
/// `.unavailable`, and watches end with it; the owner connects again and opens another store. A change
/// that got no answer has an unknown outcome (R11). The requests are refused by the same rules as in
/// `SQLiteStore`, before they are sent. Threading: any task; answers are decoded off the loop, watch
/// events on it.
package final class EtcdStore: MetadataStore {
  package struct Configuration: Sendable {
    /// From the beginning of a call to its answer, and of a watch until it is set up.
    package var callTimeout: TimeAmount = .seconds(5)
    /// Refuse by our own rules before sending. Off only in the tests that show etcd's to be the same.
    package var refusesBeforeSending = true

    package init() {}
  }

  private let connection: GRPCConnection
  private let configuration: Configuration

  /// - Parameter connection: to etcd; the store closes it.
  package init(connection: GRPCConnection, configuration: Configuration = Configuration()) {
    self.connection = connection
    self.configuration = configuration
  }

  package func close() async { await connection.close() }

  // MARK: Keys

  package func range(_ request: RangeRequest) async throws(MetadataError) -> RangeResult {
    guard !request.keys.start.isEmpty else { throw .emptyKey }
    let answer = try await call("KV/Range", EtcdRangeRequest(request), EtcdRangeResponse.self, .read)
    return RangeResult(answer)
  }

  package func transact(_ transaction: Transaction) async throws(MetadataError) -> TransactionResult {
    if configuration.refusesBeforeSending { try transaction.validate() }
    let answer = try await call("KV/Txn", EtcdTxnRequest(transaction), EtcdTxnResponse.self, .change)
    return try TransactionResult(answer)
  }

  package func compact(at revision: Revision) async throws(MetadataError) {
    let request = EtcdCompactionRequest(revision: revision.rawValue)
    _ = try await call("KV/Compact", request, EtcdCompactionResponse.self, .change)
  }

  package func watch(_ request: WatchRequest) async throws(MetadataError) -> MetadataWatch {
    guard !request.keys.start.isEmpty else { throw .emptyKey }
    let stream = EtcdWatchStream(request, eventLoop: connection.eventLoop, timeout: configuration.callTimeout)
    connection.open(path: "/etcdserverpb.Watch/Watch") { call in
      stream.start(call)
      return stream
    }
    try await stream.created()
    return MetadataWatch(stream)
  }

  // MARK: Leases

  package func grantLease(timeToLive: Int64, id: LeaseID) async throws(MetadataError) -> LeaseGrant {
    let request = EtcdLeaseGrantRequest(ttl: timeToLive, id: id.rawValue)
    let answer = try await call("Lease/LeaseGrant", request, EtcdLeaseGrantResponse.self, .change)
    guard answer.error.isEmpty else { throw MetadataError(.refused, answer.error) }
    return LeaseGrant(id: LeaseID(answer.id), timeToLive: answer.ttl)
  }

  package func keepAlive(_ lease: LeaseID) async throws(MetadataError) -> Int64 {
    // A stream of one request and one answer looks like a unary call on the wire.
    let request = EtcdLeaseKeepAliveRequest(id: lease.rawValue)
    let answer = try await call("Lease/LeaseKeepAlive", request, EtcdLeaseKeepAliveResponse.self, .change)
    guard answer.ttl > 0 else { throw .leaseNotFound(lease) }
    return answer.ttl
  }

  package func revoke(_ lease: LeaseID) async throws(MetadataError) {
    let request = EtcdLeaseRevokeRequest(id: lease.rawValue)
    _ = try await call("Lease/LeaseRevoke", request, EtcdLeaseRevokeResponse.self, .change)
  }

  package func timeToLive(_ lease: LeaseID, keys: Bool) async throws(MetadataError) -> LeaseStatus {
    let request = EtcdLeaseTimeToLiveRequest(id: lease.rawValue, keys: keys)
    let answer = try await call("Lease/LeaseTimeToLive", request, EtcdLeaseTimeToLiveResponse.self, .read)
    guard answer.ttl >= 0 else { throw .leaseNotFound(lease) }
    return LeaseStatus(
      id: lease, remaining: answer.ttl, grantedTimeToLive: answer.grantedTTL,
      keys: answer.keys.sorted { $0.lexicographicallyPrecedes($1) })
  }

  // MARK: Calls

  private func call<Request: WireMessage, Answer: WireMessage>(
    _ method: String, _ request: Request, _ type: Answer.Type, _ effect: EtcdEffect
  ) async throws(MetadataError) -> Answer {
    let bytes: SharedBytes
    do {
      bytes = try await connection.unary(
        path: "/etcdserverpb." + method, message: OutboundMessage(head: request.encoded()),
        deadline: .now() + configuration.callTimeout)
    } catch {
      let status = (error as? RPCFailure)?.status ?? GRPCStatus(.unknown, "\(error)")
      throw MetadataError(status, effect)
    }
    do throws(Fault) {
      return try Answer(decoding: bytes, limits: .reply)
    } catch {
      throw MetadataError(
        .unreadable, "etcd's answer to \(method) cannot be read: \(error.message)",
        outcome: effect == .change ? .unknown : .definite)
    }
  }
}
