import MetadataStore
import NIOCore
import SkeinCore
import Synchronization
import Testing
import Transport
import Wire

/// What the etcd store makes of silence, refusals and odd answers (R11, R12, R42).
@Suite(.timeLimit(.minutes(1)))
struct EtcdDoubtTests {
  private let a = Array("a".utf8)

  private func failure(_ body: () async throws(MetadataError) -> Void) async -> MetadataError? {
    do throws(MetadataError) {
      try await body()
      Issue.record("it succeeded")
      return nil
    } catch { return error }
  }

  @Test func silenceLeavesAChangeInDoubtButNotARead() async throws {
    let etcd = try await FakeEtcd(callTimeout: .milliseconds(100)) { _, _ in }
    let change = await failure { () throws(MetadataError) in try await etcd.store.put(a, []) }
    #expect(change?.kind == .unavailable && change?.outcome == .unknown, "\(String(describing: change))")
    #expect(await refusal { _ = try await etcd.store.get(a) } == .unavailable)
    #expect(await refusal { _ = try await etcd.store.watch(WatchRequest(.all)) } == .unavailable)
    await etcd.close()
  }

  @Test func aConnectionLostAfterTheRequestLeavesItInDoubt() async throws {
    let (arrived, arrival) = AsyncStream<Void>.makeStream()
    let etcd = try await FakeEtcd { _, _ in arrival.yield() }
    async let change = failure { () throws(MetadataError) in try await etcd.store.put(a, []) }
    var arrivals = arrived.makeAsyncIterator()
    await arrivals.next()
    await etcd.stop()
    let error = await change
    #expect(error?.kind == .unavailable && error?.outcome == .unknown, "\(String(describing: error))")
    let later = await failure { () throws(MetadataError) in try await etcd.store.put(a, []) }
    #expect(later?.kind == .unavailable && later?.outcome == .definite, "it was never sent")
    await etcd.close()
  }

  @Test(arguments: [
    (GRPCStatus(.unavailable, "etcdserver: request timed out"), MetadataError.Kind.unavailable, false),
    (GRPCStatus(.unavailable, "etcdserver: leader changed"), .unavailable, false),
    (GRPCStatus(.internal, "etcdserver: corrupt cluster"), .unavailable, false),
    (GRPCStatus(.invalidArgument, "a proxy's opinion"), .unavailable, false),
    (GRPCStatus(.permissionDenied, "etcdserver: permission denied"), .refused, true),
    (GRPCStatus(.resourceExhausted, "etcdserver: mvcc: database space exceeded"), .noSpace, true),
    (GRPCStatus(.resourceExhausted, "etcdserver: too many requests"), .overloaded, true),
    (GRPCStatus(.resourceExhausted, "message too long"), .unavailable, false),
  ])
  func aStatusIsDefiniteOnlyIfEtcdRefused(
    _ status: GRPCStatus, _ kind: MetadataError.Kind, _ isDefinite: Bool
  ) async throws {
    let etcd = try await FakeEtcd { call, _ in call.finish(status) }
    let error = await failure { () throws(MetadataError) in try await etcd.store.put(a, []) }
    #expect(error?.kind == kind)
    #expect(error?.outcome == (isDefinite ? .definite : .unknown))
    await etcd.close()
  }

  @Test(
    arguments: [
      // Not protobuf; then a result of field 4, a transaction in a transaction, which was not asked for.
      [0xff, 0xff, 0xff], [0x1a, 0x02, 0x22, 0x00],
    ] as [[UInt8]])
  func anAnswerThatCannotBeReadLeavesAChangeInDoubt(_ bytes: [UInt8]) async throws {
    let etcd = try await FakeEtcd { call, _ in
      call.send(OutboundMessage(head: bytes))
      call.finish(.ok)
    }
    let error = await failure { () throws(MetadataError) in try await etcd.store.put(a, []) }
    #expect(error?.kind == .unreadable && error?.outcome == .unknown, "\(String(describing: error))")
    await etcd.close()
  }

  private static func event(_ revision: Int64, _ key: String, size: Int = 0) -> EtcdEvent {
    let value = [UInt8](repeating: 1, count: size)
    return EtcdEvent(
      kv: EtcdKeyValue(
        key: Array(key.utf8), createRevision: revision, modRevision: revision, version: 1, value: value))
  }

  /// etcd has been seen to repeat events and to go back (B21); a revision may come in parts.
  @Test func repeatedAndPartedRevisionsAreToldOnceAndWhole() async throws {
    let etcd = try await FakeEtcd { call, _ in
      let answers = [
        EtcdWatchResponse(created: true),
        EtcdWatchResponse(events: [Self.event(5, "a"), Self.event(6, "a"), Self.event(6, "b")]),
        EtcdWatchResponse(events: [Self.event(5, "a"), Self.event(6, "b")]),
        EtcdWatchResponse(fragment: true, events: [Self.event(7, "a")]),
        EtcdWatchResponse(fragment: true, events: [Self.event(7, "b")]),
        EtcdWatchResponse(events: [Self.event(7, "c"), Self.event(9, "a")]),
        EtcdWatchResponse(canceled: true, compactRevision: 12),
      ]
      for answer in answers { call.send(OutboundMessage(head: answer.encoded())) }
    }
    let watch = try await etcd.store.watch(WatchRequest(.all))
    var told: [String] = []
    let kind = await refusal {
      for try await update in watch {
        let keys = update.events.map { String(decoding: $0.keyValue.key, as: UTF8.self) }
        told.append("\(update.revision):\(keys.joined())")
      }
    }
    #expect(told == ["5:a", "6:ab", "7:abc", "9:a"])
    #expect(kind == .compacted(at: Revision(12)))
    await etcd.close()
  }

  /// A consumer that does not take lets etcd send a few windows, not everything; then it gets all.
  @Test func aSlowConsumerHoldsEtcdBack() async throws {
    let (total, size) = (128, 256 << 10)
    let sent = Atomic<Int>(0)
    let etcd = try await FakeEtcd { call, message in
      if !message.isEmpty { call.send(OutboundMessage(head: EtcdWatchResponse(created: true).encoded())) }
      while sent.load(ordering: .relaxed) < total, call.isWritable {
        let revision = Int64(sent.add(1, ordering: .relaxed).newValue)
        let answer = EtcdWatchResponse(events: [Self.event(revision, "a", size: size)])
        call.send(OutboundMessage(head: answer.encoded()))
      }
    }
    let watch = try await etcd.store.watch(WatchRequest(.all))
    // Until nothing has moved for a while.
    var before = -1
    while sent.load(ordering: .relaxed) != before {
      before = sent.load(ordering: .relaxed)
      try await Task.sleep(for: .milliseconds(150))
    }
    #expect(before < total / 2, "\(before) of \(total) messages were taken in for a consumer that took none")
    var revisions: [Int64] = []
    for try await update in watch {
      revisions.append(update.revision.rawValue)
      if revisions.count == total { break }
    }
    #expect(revisions == (1...Int64(total)).map { $0 })
    await etcd.close()
  }
}
