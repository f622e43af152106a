import GroupCoordination
import SkeinCore

/// What the cases of the suite work with: a store, a tenant of their own, and short words for what is done with them.
///
/// Used by one task, which may hand `store` to others.
// Safe between threads: `store` changes only in `reopen`, which no case calls while other tasks of it run.
final class StoreScene: @unchecked Sendable {
  private let subject: OffsetStoreSuite.Subject
  let tenant: String
  private(set) var store: any OffsetStore

  static let topic = TopicID(high: 0x0102_0304_0506_0708, low: 0x090a_0b0c_0d0e_0f10)

  init(_ subject: OffsetStoreSuite.Subject, tenant: String, store: any OffsetStore) {
    self.subject = subject
    self.tenant = tenant
    self.store = store
  }

  func group(_ name: String = "billing") -> GroupKey { GroupKey(tenant: tenant, name: name) }

  func reopen() async throws {
    await store.close()
    store = try await subject.open()
  }

  // MARK: Words

  static func partition(_ number: Int32, of topic: TopicID = topic) -> TopicPartition {
    TopicPartition(topic: topic, partition: number)
  }

  /// What is committed in the cases: everything but the offset follows from it, and is compared too.
  static func offset(_ partition: Int32, _ offset: Int64, epoch: Int32, metadata: String = "") -> StoredOffset
  {
    StoredOffset(
      partition: Self.partition(partition),
      committed: CommittedOffset(
        offset: Offset(offset), leaderEpoch: 3, metadata: metadata,
        committedAt: 1_700_000_000_000 + offset % 1_000),
      memberEpoch: epoch)
  }

  func commit(_ group: GroupKey, epoch: Int32, _ offsets: [Int32: Int64]) async throws(Fault) {
    try await store.commit(
      group, memberEpoch: epoch,
      offsets.sorted { $0.key < $1.key }.map { Self.offset($0.key, $0.value, epoch: epoch) })
  }

  /// Must be refused with CONFLICT.
  func refused(_ group: GroupKey, epoch: Int32, _ offsets: [Int32: Int64], _ why: String) async throws {
    do throws(Fault) {
      try await commit(group, epoch: epoch, offsets)
    } catch {
      guard error.reason == .conflict else { throw BrokenPromise("\(why): \(error) instead of CONFLICT") }
      return
    }
    throw BrokenPromise("\(why) was taken")
  }

  /// The group holds exactly this, in one epoch, or whatever epochs.
  func expect(_ group: GroupKey, _ offsets: [Int32: Int64], epoch: Int32? = nil, _ when: String) async throws
  {
    let found = try await store.fetch(group, nil)
    let seen = found.map { "\($0.partition.partition):\($0.committed.offset)" }.sorted()
    let wanted = offsets.map { "\($0.key):\($0.value)" }.sorted()
    guard seen == wanted, found.allSatisfy({ $0.partition.topic == Self.topic }) else {
      throw BrokenPromise(
        "\(when), fetch gives {\(seen.joined(separator: " "))} instead of {\(wanted.joined(separator: " "))}")
    }
    guard let epoch else { return }
    for offset in found where offset.memberEpoch != epoch {
      throw BrokenPromise(
        "\(when), \(offset.partition) has the member epoch \(offset.memberEpoch) instead of \(epoch)")
    }
  }

  /// All pages of a scan; at most `limit` offsets each.
  func scan(_ tenant: String, limit: Int) async throws -> [StoredOffsetPage.Group] {
    var groups: [StoredOffsetPage.Group] = []
    var token = ""
    for _ in 0..<100_000 {
      let page = try await store.scan(tenant: tenant, after: token, limit: limit)
      let count = page.groups.reduce(0) { $0 + $1.offsets.count }
      guard count <= limit else { throw BrokenPromise("a page of at most \(limit) offsets has \(count)") }
      guard page.groups.allSatisfy({ !$0.offsets.isEmpty }) else {
        throw BrokenPromise("a page has a group without offsets")
      }
      groups += page.groups
      token = page.token
      if token.isEmpty { return groups }
    }
    throw BrokenPromise("the pages have no end")
  }

  func check(_ condition: Bool, _ what: @autoclosure () -> String) throws {
    guard condition else { throw BrokenPromise(what()) }
  }
}
