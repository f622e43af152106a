package import NIOCore
package import PluginPackage
package import SkeinCore

/// A loaded partitioner with one configuration, serving one topic generation, in the broker or in a child.
///
/// Any thread. The last reference ends it: in-process the table's `destroy`, in a child a message to it.
package protocol PartitionerInstance: AnyObject, Sendable {
  var reference: PluginReference { get }
  /// Places a batch; `answer` is called exactly once, on `loop`. It may be called before `place` returns only when the
  /// caller is on `loop`. One partition per record, checked to be in range, or -1 = any.
  /// - Errors in the answer: `PLUGIN_FAULT` (crash, out of range, malformed), `PARTITIONER_UNAVAILABLE` (restarting,
  ///   breaker open, too many calls open), `PLUGIN_QUARANTINED`. All definite.
  func place(
    _ batch: PlacementBatch, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[Int32], Fault>) -> Void)
  /// Since it was made. For `watch`: faults, nanoseconds a record.
  var counts: InstanceCounts { get }
}

/// What an instance did so far.
package struct InstanceCounts: Sendable, Hashable {
  package var calls: UInt64 = 0
  package var records: UInt64 = 0
  package var faults: UInt64 = 0
  /// Of them: answers out of range.
  package var outOfRange: UInt64 = 0
  /// Spent in calls, as the broker sees it.
  package var nanoseconds: UInt64 = 0
  package init() {}
}

/// What is known of a client before it says a word.
package struct PeerEvidence: Sendable, Hashable {
  /// DER, the client's first.
  package var certificates: [[UInt8]] = []
  package var serverName = ""
  package var address = ""
  /// 32 bytes (RFC 5705).
  package var tlsExporter: [UInt8] = []
  package init() {}
}

/// A loaded authenticator with one configuration. Any thread.
package protocol AuthenticatorInstance: AnyObject, Sendable {
  var reference: PluginReference { get }
  /// One step of an exchange; `answer` exactly once, on `loop`, at the latest at `deadline`. The bytes are an encoded
  /// `skein.plugin.v1.AuthenticateResult`.
  /// - Errors: `TOKEN_INVALID` (denied), `AUTHENTICATOR_UNAVAILABLE` (late, crashed, absent, breaker open).
  func step(
    exchange: UInt64, mechanism: String, peer: PeerEvidence, message: [UInt8], deadline: NIODeadline,
    on loop: any EventLoop, _ answer: @escaping @Sendable (Result<[UInt8], Fault>) -> Void)
  func end(exchange: UInt64)
}

/// What an offset store is asked; the bytes are messages of skein/plugin/v1/offset_store.proto.
package enum OffsetStoreOperation: Sendable, Hashable, CaseIterable {
  case commit
  case fetch
  case scan
  case remove
}

/// A loaded offset store with one configuration. Any thread.
package protocol OffsetStoreInstance: AnyObject, Sendable {
  var reference: PluginReference { get }
  /// One request; `answer` exactly once, on `loop`, at the latest at `deadline`. The bytes of the answer are an encoded
  /// `OffsetPage` for `fetch` and `scan`, else empty.
  /// - Errors: `CONFLICT` (a stored offset has a newer member epoch), `PLUGIN_FAULT`, `PLUGIN_QUARANTINED` (retriable
  ///   where the fault says so; a commit that failed so may or may not have been stored).
  func ask(
    _ operation: OffsetStoreOperation, _ request: [UInt8], deadline: NIODeadline, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[UInt8], Fault>) -> Void)
}
