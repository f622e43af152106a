import GroupCoordination
import NIOCore
import SkeinCore

/// Where a group's committed offsets are: every commit, fetch, reset and deletion goes through here.
///
/// Threading: any thread; answers come on the loop that was named.
final class GroupOffsets: Sendable {
  /// The store in which groups keep their offsets unless another is chosen: `__groups` itself.
  static let log = "log"

  private let groups: GroupDirectory

  init(groups: GroupDirectory) { self.groups = groups }

  /// One result an offset, in order; nil = committed. Offsets were checked against the log (`GroupsCheck`).
  func commit(
    _ request: GroupCoordination.CommitRequest, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[Fault?], Fault>) -> Void
  ) {
    groups.ask(.commit(request), of: request.group, on: loop) { result in
      answer(
        result.flatMap {
          if case .committed(let results) = $0 { .success(results) } else { .failure(Self.unexpected) }
        })
    }
  }

  func fetch(
    _ request: GroupCoordination.FetchOffsetsRequest, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[TopicPartition: CommittedOffset], Fault>) -> Void
  ) {
    groups.ask(.fetchOffsets(request), of: request.group, on: loop) { result in
      answer(
        result.flatMap {
          if case .offsets(let found) = $0 { .success(found) } else { .failure(Self.unexpected) }
        })
    }
  }

  /// Sets positions of a group without members; with `dryRun` it only says what it would set.
  func reset(
    _ key: GroupKey, _ offsets: [OffsetCommit], dryRun: Bool
  ) async throws(Fault) -> [(partition: TopicPartition, before: Offset?, after: Offset)] {
    guard
      case .reset(let changes) = try await groups.ask(.resetOffsets(key, offsets, dryRun: dryRun), of: key)
    else { throw Self.unexpected }
    return changes
  }

  /// Removes the offsets of one topic, or, without one, the group itself with all of its offsets.
  /// - Returns: how many offsets there were.
  func delete(_ key: GroupKey, topic: TopicID?) async throws(Fault) -> Int {
    guard let topic else {
      guard case .deleted(let count) = try await groups.ask(.deleteGroup(key), of: key) else {
        throw Self.unexpected
      }
      return count
    }
    let request = GroupCoordination.FetchOffsetsRequest(group: key)
    guard case .offsets(let found) = try await groups.ask(.fetchOffsets(request), of: key) else {
      throw Self.unexpected
    }
    let partitions = found.keys.filter { $0.topic == topic }.sorted()
    var count = 0
    for start in stride(from: 0, to: max(partitions.count, 1), by: GroupLimits.offsetsPerRequest) {
      let part = Array(partitions.dropFirst(start).prefix(GroupLimits.offsetsPerRequest))
      guard case .deleted(let removed) = try await groups.ask(.deleteOffsets(key, part), of: key) else {
        throw Self.unexpected
      }
      count += removed
    }
    return count
  }

  /// As the operator knows it.
  func storeName(of key: GroupKey) -> String { Self.log }

  /// False while the group's store does not answer.
  func isAvailable(_ key: GroupKey) -> Bool { true }

  private static let unexpected = Fault(
    .internalError, "the group coordinator gave another answer than was asked for")
}
