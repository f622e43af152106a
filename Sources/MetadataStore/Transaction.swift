/// Compares, then one of two lists of operations, as one atomic step with one revision.
///
/// All compares must hold for `success` to run; otherwise `failure` runs. An operation sees what the
/// ones before it in the list did. The revision rises by one if any key changed, else not at all.
package struct Transaction: Hashable, Sendable {
  package var compares: [Compare]
  package var success: [Operation]
  package var failure: [Operation]

  package init(if compares: [Compare] = [], then success: [Operation], else failure: [Operation] = []) {
    self.compares = compares
    self.success = success
    self.failure = failure
  }
}

/// One condition on one key. An absent key has revisions and version 0; no compare of its value holds.
package struct Compare: Hashable, Sendable {
  package enum Target: Hashable, Sendable {
    case modRevision(Revision)
    case createRevision(Revision)
    case version(Int64)
    case value([UInt8])
  }
  /// How the key's own value must relate to the target.
  package enum Relation: Hashable, Sendable, CaseIterable {
    case equal, greater, less, notEqual
  }

  package var key: [UInt8]
  package var relation: Relation
  package var target: Target

  package init(_ key: [UInt8], _ relation: Relation, _ target: Target) {
    self.key = key
    self.relation = relation
    self.target = target
  }

  package static func absent(_ key: [UInt8]) -> Compare {
    Compare(key, .equal, .createRevision(.zero))
  }
  package static func unchanged(_ key: [UInt8], since revision: Revision) -> Compare {
    Compare(key, .equal, .modRevision(revision))
  }
}

/// One step of a transaction.
package enum Operation: Hashable, Sendable {
  /// - Parameter previous: answer with what the key held before.
  case put(key: [UInt8], value: [UInt8], lease: LeaseID = .none, previous: Bool = false)
  case delete(KeyRange, previous: Bool = false)
  case range(RangeRequest)
}

package struct TransactionResult: Hashable, Sendable {
  /// Whether the compares held, and so which list ran.
  package var succeeded: Bool
  /// The store's revision after it: that of its changes, if it made any.
  package var revision: Revision
  /// One for each operation of the list that ran, in order.
  package var results: [OperationResult]

  package init(succeeded: Bool, revision: Revision, results: [OperationResult]) {
    self.succeeded = succeeded
    self.revision = revision
    self.results = results
  }
}

package enum OperationResult: Hashable, Sendable {
  /// `previous` is nil if there was none or it was not asked for.
  case put(previous: KeyValue?)
  /// How many keys went, and what they held if that was asked for.
  case delete(count: Int, previous: [KeyValue])
  case range(RangeResult)
}
