package import SkeinCore

/// Why a metadata store did not do what it was asked.
///
/// `outcome` says whether it may have done it all the same (R11, R42): after `.unknown` read the keys
/// before the next step, or repeat only what compares make harmless.
package struct MetadataError: Error, Sendable, Hashable, CustomStringConvertible {
  package enum Kind: Sendable, Hashable {
    /// The revision asked for is gone; the oldest that can be read is `at` (`.zero`: not told).
    case compacted(at: Revision)
    /// The revision asked for has not happened yet.
    case futureRevision
    case leaseNotFound
    case leaseExists
    case leaseTooLong
    case emptyKey
    case duplicateKey
    case tooManyOperations
    case requestTooLarge
    case tooManyChanges
    case resultTooLarge
    /// Another process or store holds the files.
    case locked
    /// The disk or etcd's quota is full; nothing was changed.
    case noSpace
    /// A bounded queue is full; nothing was done.
    case overloaded
    /// The disk failed; the store is offline until it is opened again (R56).
    case offline
    /// The stored data is damaged or of a version that this build does not read.
    case unreadable
    /// etcd did not answer in time or the connection broke.
    case unavailable
    /// The store was closed before.
    case closed
    /// etcd refused for another reason; the message is its own.
    case refused
  }

  package var kind: Kind
  package var outcome: Reason.Outcome
  package var message: String

  package init(_ kind: Kind, _ message: String, outcome: Reason.Outcome = .definite) {
    self.kind = kind
    self.outcome = outcome
    self.message = message
  }

  /// As a client of the broker is told. What is left are refusals of requests that the broker itself
  /// composes: its own defect.
  package var fault: Fault {
    switch (outcome, kind) {
    case (.unknown, _), (_, .unavailable), (_, .offline):
      Fault(
        .metadataUnavailable, "\(message); if this was a change it may have been made: read before you retry")
    case (_, .noSpace): Fault(.diskFull, "\(message); nothing was changed")
    case (_, .overloaded): Fault(.overloaded, message)
    case (_, .closed): Fault(.draining, message)
    default: Fault(.internalError, "the metadata store: \(self)")
    }
  }

  package var description: String { "\(message) (\(kind), outcome \(outcome))" }

  static let emptyKey = MetadataError(.emptyKey, "a key needs at least one byte")
  static let closed = MetadataError(.closed, "the metadata store is closed")
}
