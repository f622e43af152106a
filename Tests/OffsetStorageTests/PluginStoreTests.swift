import GroupCoordination
import NIOCore
import NIOPosix
import OffsetStorage
import PluginHost
import PluginPackage
import SkeinCore
import Synchronization
import Testing
import Wire

/// What a plug-in says is checked before it is believed.
@Suite struct PluginStoreTests {
  private static let group = GroupKey(tenant: "t", name: "g")

  /// Answers as the test says, one after another; the last again and again.
  private final class Instance: OffsetStoreInstance {
    let reference: PluginReference
    private let answers: Mutex<[Result<[UInt8], Fault>]>
    let asked = Mutex<[(OffsetStoreOperation, [UInt8])]>([])

    init(_ answers: [Result<[UInt8], Fault>]) {
      self.answers = Mutex(answers)
      do {
        reference = try PluginReference(parsing: "com.acme.store@1.0.0")
      } catch {
        preconditionFailure("the reference of the test is no reference: \(error)")
      }
    }

    func ask(
      _ operation: OffsetStoreOperation, _ request: [UInt8], deadline: NIODeadline, on loop: any EventLoop,
      _ answer: @escaping @Sendable (Result<[UInt8], Fault>) -> Void
    ) {
      asked.withLock { $0.append((operation, request)) }
      let result = answers.withLock { $0.count > 1 ? $0.removeFirst() : $0[0] }
      loop.execute { answer(result) }
    }
  }

  private func store(_ answers: [Result<[UInt8], Fault>]) -> (PluginOffsetStore, Instance) {
    let instance = Instance(answers)
    return (
      PluginOffsetStore(name: "far", instance: instance, loop: MultiThreadedEventLoopGroup.singleton.next()),
      instance
    )
  }

  private static func page(
    _ offsets: [PluginStoredOffset], group: String = "g", token: String = ""
  ) -> Result<[UInt8], Fault> {
    .success(
      PluginOffsetPage(groups: [PluginGroupOffsets(group: group, offsets: offsets)], token: token).encoded())
  }

  private static func offset(_ change: (inout PluginStoredOffset) -> Void = { _ in }) -> PluginStoredOffset {
    var offset = PluginStoredOffset(
      topicID: "000102030405060708090a0b0c0d0e0f", partition: 1, offset: 5, leaderEpoch: 2, metadata: "m",
      committedMs: 7, memberEpoch: 3)
    change(&offset)
    return offset
  }

  private func refusal(_ answers: [Result<[UInt8], Fault>], _ partitions: [TopicPartition]? = nil) async
    -> Fault?
  {
    do throws(Fault) {
      _ = try await store(answers).0.fetch(Self.group, partitions)
      return nil
    } catch {
      return error
    }
  }

  @Test func whatIsNoAnswerIsNotBelieved() async throws {
    let good = try await store([Self.page([Self.offset()])]).0.fetch(Self.group, nil)
    #expect(good.map(\.committed.offset) == [Offset(5)] && good.first?.memberEpoch == 3)
    let bad: [Result<[UInt8], Fault>] = [
      .success([0xff, 0xff, 0xff]), .success([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
      .success(Array(repeating: 0x0a, count: 100_000)),
      Self.page([Self.offset { $0.topicID = "orders" }]), Self.page([Self.offset { $0.topicID = "" }]),
      Self.page([Self.offset { $0.partition = -1 }]), Self.page([Self.offset { $0.offset = -1 }]),
      Self.page([Self.offset { $0.offset = .max }]), Self.page([Self.offset { $0.memberEpoch = -1 }]),
      Self.page([Self.offset { $0.metadata = String(repeating: "x", count: 4_097) }]),
      Self.page([Self.offset()], group: "another"), Self.page([Self.offset()], group: ""),
      Self.page([Self.offset()], group: String(repeating: "g", count: 300)),
      Self.page([Self.offset()], token: String(repeating: "t", count: 1_025)),
    ]
    for answer in bad {
      let fault = await refusal([answer])
      #expect(fault?.reason == .offsetStoreUnavailable && fault?.metadata["store"] == "far", "\(answer)")
    }
    let other = TopicPartition(topic: TopicID(high: 9, low: 9), partition: 1)
    #expect(await refusal([Self.page([Self.offset()])], [other])?.reason == .offsetStoreUnavailable)
    #expect(await refusal([.success([])]) == nil, "an empty page")
  }

  /// It cannot make the broker ask for ever, or hold more than one group may have.
  @Test func pagesHaveAnEnd() async throws {
    let same = await refusal([Self.page([Self.offset()], token: "again")])
    #expect(same?.message.contains("without end") == true)
    let (store, instance) = store(
      (0..<3).map { page in
        Self.page(
          (0..<200).map { n in Self.offset { $0.partition = Int32(page * 200 + n) } }, token: "\(page)")
      } + [Self.page([])])
    #expect(try await store.fetch(Self.group, nil).count == 600)
    let requests = try instance.asked.withLock { asked in
      try asked.map { try PluginFetchOffsets(decoding: SharedBytes($0.1)) }
    }
    #expect(requests.map(\.token) == ["", "0", "1", "2"] && requests.allSatisfy { $0.limit == 200 })
    for answer in [
      Self.page([Self.offset()], token: "t"), .success(PluginOffsetPage(token: "more").encoded()),
      Self.page((0..<201).map { n in Self.offset { $0.partition = Int32(n) } }),
    ] {
      let (store, _) = self.store([answer])
      await #expect(throws: Fault.self) { _ = try await store.scan(tenant: "t", after: "t", limit: 1_000) }
    }
    let (unsorted, _) = self.store([
      .success(
        PluginOffsetPage(groups: [
          PluginGroupOffsets(group: "b", offsets: [Self.offset()]),
          PluginGroupOffsets(group: "a", offsets: [Self.offset()]),
        ]).encoded())
    ])
    await #expect(throws: Fault.self) { _ = try await unsorted.scan(tenant: "t", after: "", limit: 10) }
  }

  @Test func aConflictIsOneAndEverythingElseIsToBeRepeated() async throws {
    let offset = StoredOffset(
      partition: TopicPartition(topic: TopicID(high: 1, low: 1), partition: 0),
      committed: CommittedOffset(offset: Offset(1), leaderEpoch: 0, metadata: "", committedAt: 0),
      memberEpoch: 0)
    for (reason, expected) in [
      (Reason.conflict, Reason.conflict), (.pluginFault, .offsetStoreUnavailable),
      (.pluginQuarantined, .offsetStoreUnavailable),
    ] {
      let (store, instance) = store([.failure(Fault(reason, "said the plug-in"))])
      do throws(Fault) {
        try await store.commit(Self.group, memberEpoch: 4, [offset])
        Issue.record("\(reason) was lost")
      } catch {
        #expect(error.reason == expected && error.message.contains("said the plug-in"))
        #expect(expected == .conflict || error.retryAfterMilliseconds != nil)
      }
      let request = try instance.asked.withLock { try PluginCommitOffsets(decoding: SharedBytes($0[0].1)) }
      #expect(request.memberEpoch == 4 && request.offsets[0].memberEpoch == 4 && request.tenant == "t")
    }
    let (fetching, _) = store([.failure(Fault(.conflict, "a conflict in a fetch"))])
    await #expect(throws: Fault.self) { _ = try await fetching.fetch(Self.group, nil) }
  }

  /// No list of partitions may become "all of them".
  @Test func nothingIsAskedForNothing() async throws {
    let (store, instance) = store([.success([])])
    try await store.remove(Self.group, [])
    try await store.commit(Self.group, memberEpoch: 1, [])
    #expect(try await store.fetch(Self.group, []).isEmpty)
    #expect(instance.asked.withLock { $0.isEmpty })
    try await store.remove(
      Self.group, (0..<450).map { TopicPartition(topic: TopicID(high: 1, low: 1), partition: $0) })
    let sizes = try instance.asked.withLock { asked in
      try asked.map { try PluginRemoveOffsets(decoding: SharedBytes($0.1)).partitions.count }
    }
    #expect(sizes == [200, 200, 50])
  }
}
