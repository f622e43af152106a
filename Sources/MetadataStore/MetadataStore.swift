/// Where a broker or cluster keeps its small, precious facts: topics, settings, epochs, leases.
///
/// The semantics are etcd's (API v3), whichever store is behind it: one revision for each change of
/// the whole store, compare-and-swap transactions, reads of past revisions until they are compacted,
/// watches from a revision, leases. `SQLiteStore` serves a broker that runs alone, `EtcdStore` a
/// cluster; one conformance suite runs on both.
///
/// **Errors.** Each call throws `MetadataError`, which says whether the change may have been made.
/// **Threading.** Calls may come from any task at the same time. What one caller was told is seen by
/// every call that begins later (linearizable). Cancelling a task does not take a call back: SQLite runs
/// it to its end, on etcd it throws `.unavailable` with an unknown outcome.
package protocol MetadataStore: AnyObject, Sendable {
  func range(_ request: RangeRequest) async throws(MetadataError) -> RangeResult

  func transact(_ transaction: Transaction) async throws(MetadataError) -> TransactionResult

  /// Begins a watch. Throws `.compacted` at once, or at its first `next`, when `from` is gone.
  func watch(_ request: WatchRequest) async throws(MetadataError) -> MetadataWatch

  /// Forgets what can only be seen at revisions before this one. Throws `.compacted` for one that was
  /// compacted before, `.futureRevision` for one that has not happened.
  func compact(at revision: Revision) async throws(MetadataError)

  /// - Parameter timeToLive: seconds, at least 1; the grant may be longer.
  /// - Parameter id: `.none` lets the store choose.
  func grantLease(timeToLive: Int64, id: LeaseID) async throws(MetadataError) -> LeaseGrant

  /// Starts the lease's time anew and returns its seconds. Reckon a deadline from *before* the call
  /// (R17). Throws `.leaseNotFound` once it ended.
  func keepAlive(_ lease: LeaseID) async throws(MetadataError) -> Int64

  /// Ends the lease and deletes its keys, in one revision (none if it has no keys).
  func revoke(_ lease: LeaseID) async throws(MetadataError)

  /// - Parameter keys: also list the keys bound to it.
  func timeToLive(_ lease: LeaseID, keys: Bool) async throws(MetadataError) -> LeaseStatus

  /// Ends all watches and frees the files or the connection. Calls after it throw `.closed`.
  func close() async
}

extension MetadataStore {
  /// Puts one key and returns its revision.
  @discardableResult
  package func put(
    _ key: [UInt8], _ value: [UInt8], lease: LeaseID = .none
  ) async throws(MetadataError) -> Revision {
    try await transact(Transaction(then: [.put(key: key, value: value, lease: lease)])).revision
  }

  /// The newest value of one key.
  package func get(_ key: [UInt8]) async throws(MetadataError) -> KeyValue? {
    try await range(RangeRequest(.key(key))).keyValues.first
  }

  /// Deletes a range and returns how many keys it had.
  @discardableResult
  package func delete(_ keys: KeyRange) async throws(MetadataError) -> Int {
    let result = try await transact(Transaction(then: [.delete(keys)]))
    guard case .delete(let count, _) = result.results.first else { return 0 }
    return count
  }
}
