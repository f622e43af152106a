/// Which changes to follow, and from where.
package struct WatchRequest: Hashable, Sendable {
  package var keys: KeyRange
  /// The first revision to tell of; it may lie ahead. `.zero` = the one after now.
  package var from: Revision
  /// Tell with each event what the key held before, as far as that is not compacted.
  package var previous: Bool

  package init(_ keys: KeyRange, from: Revision = .zero, previous: Bool = false) {
    self.keys = keys
    self.from = from
    self.previous = previous
  }
}

/// All that one revision changed in the watched range; never empty, never a part of it.
package struct WatchUpdate: Hashable, Sendable {
  package var revision: Revision
  /// In the order of the transaction's operations.
  package var events: [WatchEvent]

  package init(revision: Revision, events: [WatchEvent]) {
    self.revision = revision
    self.events = events
  }
}

package struct WatchEvent: Hashable, Sendable {
  package enum Kind: Hashable, Sendable { case put, delete }

  package var kind: Kind
  /// After the change. Of a deletion only the key and `modRevision` are set.
  package var keyValue: KeyValue
  /// Before the change, if it was asked for, existed and is not compacted.
  package var previous: KeyValue?

  package init(kind: Kind, keyValue: KeyValue, previous: KeyValue?) {
    self.kind = kind
    self.keyValue = keyValue
    self.previous = previous
  }
}

/// Where the updates of one watch come from. Threading: `next` is called by one task at a time.
package protocol WatchSource: AnyObject, Sendable {
  /// Waits for updates and returns at least one, in order; nil once the task is cancelled.
  func next() async throws(MetadataError) -> [WatchUpdate]?
  /// Ends the watch; nothing is called after it.
  func end()
}

/// A running watch: updates in revision order, without gap or repeat from where it began.
///
/// Iterate it once. It ends with nil when its task is cancelled and throws when it cannot go on:
/// `.compacted(at:)` when history that it still needed is gone (list again, then watch from there),
/// `.closed` with the store, a connection error on etcd (watch again from the last revision's `next`).
/// A watch is a hint (R12): whoever needs certainty lists again and compares. (etcd 3.4.23 forgets a
/// deletion made at the very revision of a later compaction, and lets a watch begin there.)
///
/// **A slow consumer** holds nothing up and fills no memory: the SQLite store keeps only a cursor and
/// reads the next updates when they are asked for; from etcd the transport stops reading and etcd
/// buffers or, in the end, compacts.
package struct MetadataWatch: AsyncSequence, Sendable {
  package typealias Element = WatchUpdate
  package typealias Failure = MetadataError

  private let ender: Ender

  package init(_ source: any WatchSource) { ender = Ender(source) }

  package func makeAsyncIterator() -> Iterator { Iterator(ender: ender) }

  package struct Iterator: AsyncIteratorProtocol {
    fileprivate let ender: Ender
    /// Fetched and not yet handed out, last first.
    private var pending: [WatchUpdate] = []

    fileprivate init(ender: Ender) { self.ender = ender }

    package mutating func next(
      isolation actor: isolated (any Actor)? = #isolation
    ) async throws(MetadataError) -> WatchUpdate? {
      if pending.isEmpty {
        guard let updates = try await ender.source.next() else { return nil }
        pending = updates.reversed()
      }
      return pending.popLast()
    }
  }

  /// Ends the source when neither the sequence nor its iterator is held any more.
  fileprivate final class Ender: Sendable {
    let source: any WatchSource
    init(_ source: any WatchSource) { self.source = source }
    deinit { source.end() }
  }
}
