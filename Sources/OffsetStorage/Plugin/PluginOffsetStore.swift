package import GroupCoordination
package import NIOCore
package import PluginHost
import PluginPackage
package import SkeinCore

/// A store in a plug-in: requests as messages of skein/plugin/v1/offset_store.proto, answers checked before they are
/// believed.
///
/// An answer that is late, malformed, out of range, or of somebody else is OFFSET_STORE_UNAVAILABLE: whether a commit was
/// stored is then open, and it is repeated. Pages are bounded, and their number too: a plug-in cannot make the broker hold
/// more than one group's offsets (`mostOffsets`).
package final class PluginOffsetStore: OffsetStore {
  package let name: String
  private let instance: any OffsetStoreInstance
  private let loop: any EventLoop
  private let deadline: TimeAmount

  /// - Parameters:
  ///   - deadline: of each request.
  package init(
    name: String, instance: any OffsetStoreInstance, loop: any EventLoop, deadline: TimeAmount = .seconds(5)
  ) {
    self.name = name
    self.instance = instance
    self.loop = loop
    self.deadline = deadline
  }

  /// The instance ends with its last reference.
  package func close() async {}

  // MARK: OffsetStore

  package func commit(
    _ group: GroupKey, memberEpoch: Int32, _ offsets: [StoredOffset]
  ) async throws(Fault) {
    guard !offsets.isEmpty else { return }
    _ = try await ask(.commit, StoreMessages.commit(group, memberEpoch: memberEpoch, offsets))
  }

  package func fetch(
    _ group: GroupKey, _ partitions: [TopicPartition]?
  ) async throws(Fault) -> [StoredOffset] {
    var found: [TopicPartition: StoredOffset] = [:]
    guard let partitions else {
      var token = ""
      repeat {
        let page = try await page(.fetch, StoreMessages.fetch(group, after: token))
        let before = found.count
        try take(page, of: group, into: &found)
        // A page that brings nothing new would bring it for ever.
        guard page.token.isEmpty || found.count > before else { throw wrong("a page goes on without end") }
        guard found.count <= Self.mostOffsets else {
          throw wrong("a group has more than \(Self.mostOffsets) offsets")
        }
        token = page.token
      } while !token.isEmpty
      return found.values.sorted { $0.partition < $1.partition }
    }
    for slice in slices(of: partitions) {
      let page = try await page(.fetch, StoreMessages.fetch(group, slice))
      let wanted = Set(slice)
      guard page.groups.allSatisfy({ $0.offsets.allSatisfy { wanted.contains($0.partition) } }) else {
        throw wrong("it has a partition that nobody asked for")
      }
      try take(page, of: group, into: &found)
    }
    return found.values.sorted { $0.partition < $1.partition }
  }

  package func scan(
    tenant: String, after token: String, limit: Int
  ) async throws(Fault) -> StoredOffsetPage {
    let limit = min(max(limit, 1), StoreMessages.pageOffsets)
    let page = try await page(.scan, StoreMessages.scan(tenant: tenant, after: token, limit: limit))
    guard page.groups.reduce(0, { $0 + $1.offsets.count }) <= limit else {
      throw wrong("a page of at most \(limit) offsets has more")
    }
    guard page.token.isEmpty || (page.token != token && !page.groups.isEmpty) else {
      throw wrong("a page goes on without end")
    }
    let names = page.groups.map { Array($0.name.utf8) }
    guard zip(names, names.dropFirst()).allSatisfy({ $0.lexicographicallyPrecedes($1) }) else {
      throw wrong("groups are not in the order of their names")
    }
    return page
  }

  package func remove(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) {
    guard let partitions else {
      _ = try await ask(.remove, StoreMessages.remove(group, []))
      return
    }
    for slice in slices(of: partitions) { _ = try await ask(.remove, StoreMessages.remove(group, slice)) }
  }

  // MARK: Calls

  /// Offsets that one group may have, with room for a limit that was lowered since.
  private static let mostOffsets = 100_000

  private func slices(of partitions: [TopicPartition]) -> [ArraySlice<TopicPartition>] {
    stride(from: 0, to: partitions.count, by: StoreMessages.pageOffsets).map {
      partitions[$0..<min($0 + StoreMessages.pageOffsets, partitions.count)]
    }
  }

  private func take(
    _ page: StoredOffsetPage, of group: GroupKey, into found: inout [TopicPartition: StoredOffset]
  ) throws(Fault) {
    for named in page.groups {
      guard named.name == group.name else { throw wrong("it is of another group") }
      for offset in named.offsets { found[offset.partition] = offset }
    }
  }

  private func page(
    _ operation: OffsetStoreOperation, _ request: [UInt8]
  ) async throws(Fault) -> StoredOffsetPage {
    let bytes = try await ask(operation, request)
    do throws(StoreMessages.Wrong) {
      return try StoreMessages.page(bytes)
    } catch {
      throw wrong(error.what)
    }
  }

  private func ask(_ operation: OffsetStoreOperation, _ request: [UInt8]) async throws(Fault) -> [UInt8] {
    let answer: Result<[UInt8], Fault> = await withCheckedContinuation { continuation in
      instance.ask(operation, request, deadline: .now() + deadline, on: loop) {
        continuation.resume(returning: $0)
      }
    }
    do {
      return try answer.get()
    } catch {
      if error.reason == .conflict, operation == .commit { throw error }
      throw unavailable(error)
    }
  }

  private func unavailable(_ fault: Fault) -> Fault {
    Fault(
      .offsetStoreUnavailable, "the offset store \(name) does not answer: \(fault.message)",
      metadata: ["store": name, "plugin": instance.reference.description, "cause": fault.reason.name],
      retryAfterMilliseconds: max(fault.retryAfterMilliseconds ?? 0, 100))
  }

  private func wrong(_ what: String) -> Fault {
    Fault(
      .offsetStoreUnavailable,
      "the offset store \(name) gave an answer that is not believed: \(what). Tell the author of \(instance.reference)",
      metadata: ["store": name, "plugin": instance.reference.description, "cause": "PLUGIN_FAULT"],
      retryAfterMilliseconds: 1_000)
  }
}
