package import GroupCoordination
package import SkeinCore

/// Where consumer groups keep their offsets, if not in `__groups`: `sqlite`, and plug-ins of skein.offset-store/1.
///
/// **What every store promises** (the conformance suite holds each to it):
/// 1. A commit is stored whole or not at all, and durable when the call returns.
/// 2. A commit with a lower member epoch than the stored one of any of its partitions is refused: CONFLICT. It comes from a
///    member that has lost the partition (G15).
/// 3. A commit of the same epoch never takes an offset back (G16): CONFLICT. With a higher epoch it may.
/// 4. The same commit again changes nothing and succeeds.
/// 5. `fetch` sees every commit that returned before it began.
/// 6. An error other than CONFLICT leaves it open whether the commit was stored (OFFSET_STORE_UNAVAILABLE: unknown); then 4
///    makes it harmless to repeat it.
///
/// Threading: any; calls of one group may overlap. A task that waits may be cancelled; what was asked may still happen.
package protocol OffsetStore: AnyObject, Sendable {
  /// As the operator knows it.
  var name: String { get }
  /// - Parameter memberEpoch: of the member that commits; 0 = of nobody (a group without members, a reset, a move): it is
  ///   taken whatever is stored, and the offset may go back.
  func commit(_ group: GroupKey, memberEpoch: Int32, _ offsets: [StoredOffset]) async throws(Fault)
  /// Those that there are; nil = all of the group.
  func fetch(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) -> [StoredOffset]
  /// A tenant's groups in the order of their names; a page holds at most `limit` offsets (1 to 1,000) and may split a group.
  func scan(tenant: String, after token: String, limit: Int) async throws(Fault) -> StoredOffsetPage
  /// Removes them; nil = all of the group. What is not there is no error.
  func remove(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault)
  /// Ends it; calls that wait are refused.
  func close() async
}

/// One committed position as a store has it.
package struct StoredOffset: Sendable, Hashable {
  package var partition: TopicPartition
  package var committed: CommittedOffset
  /// Of the member that committed it; 0 = of nobody.
  package var memberEpoch: Int32

  package init(partition: TopicPartition, committed: CommittedOffset, memberEpoch: Int32) {
    self.partition = partition
    self.committed = committed
    self.memberEpoch = memberEpoch
  }
}

package struct StoredOffsetPage: Sendable, Hashable {
  package struct Group: Sendable, Hashable {
    package var name: String
    package var offsets: [StoredOffset]

    package init(name: String, offsets: [StoredOffset]) {
      self.name = name
      self.offsets = offsets
    }
  }

  /// In the order of the groups' names.
  package var groups: [Group]
  /// For the next page; empty = that was the last.
  package var token: String

  package init(groups: [Group], token: String) {
    self.groups = groups
    self.token = token
  }
}
