import CSkeinPlugin
import Glibc
import Synchronization
import Testing
import Wire

@testable import SkeinPluginKit

/// The asynchronous kinds behind the ABI, with messages as the broker's own code writes and reads them.
@Suite struct CallTests {
  let host = FakeHost()
  let store: skein_offset_store
  let instance: UnsafeMutableRawPointer

  init() throws {
    store = try ExportedPlugin.shared.table(SKEIN_OFFSET_STORE, skein_offset_store.self)
    instance = try #require(ExportedPlugin.create(store.ops, host).instance)
  }

  private var inAnHour: UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec + 3_600) * 1_000_000_000
  }

  private func fetch(_ group: String, call: skein_call, partitions: Int32 = 0) {
    let request = PluginFetchOffsets(
      tenant: "t", group: group,
      partitions: (0..<partitions).map { PluginTopicPartitionName(topicID: "ab", partition: $0) })
    lend(request.encoded()) { store.fetch(instance, call, inAnHour, $0) }
  }

  @Test func messagesAreTheBrokers() async throws {
    let offset = PluginStoredOffset(
      topicID: "0123456789abcdef0123456789abcdef", partition: 3, offset: -1, leaderEpoch: 4, metadata: "ü",
      committedMs: 5, memberEpoch: 6)
    let commit = PluginCommitOffsets(
      tenant: "t", group: "messages", memberEpoch: 7, offsets: [offset, offset])
    lend(commit.encoded()) { store.commit(instance, 1, inAnHour, $0) }
    let done = await host.completion(of: 1)
    #expect(done.status == SKEIN_OK && done.result.isEmpty)
    let stored = StoredOffset(
      topicID: "0123456789abcdef0123456789abcdef", partition: 3, offset: -1, leaderEpoch: 4, metadata: "ü",
      committedMilliseconds: 5, memberEpoch: 6)
    let expected = CommitOffsets(tenant: "t", group: "messages", memberEpoch: 7, offsets: [stored, stored])
    #expect(ScriptedStore.seen.withLock { $0.contains("\(expected)") })

    fetch("answer", call: 2, partitions: 2)
    let page = try PluginOffsetPage(decoding: await host.completion(of: 2).result)
    let found = (0..<2).map {
      PluginStoredOffset(
        topicID: "ab", partition: Int32($0), offset: 1 << 40, leaderEpoch: 5, metadata: "m", committedMs: 99,
        memberEpoch: 6)
    }
    #expect(
      page
        == PluginOffsetPage(
          groups: [PluginGroupOffsets(group: "answer", offsets: found), PluginGroupOffsets()], token: "ttt"))

    lend(PluginScanOffsets(tenant: "a", token: "b", limit: 9).encoded()) {
      store.scan(instance, 3, inAnHour, $0)
    }
    #expect(try PluginOffsetPage(decoding: await host.completion(of: 3).result).token == "a b 9")
  }

  @Test(arguments: [
    ("deny", SKEIN_DENIED), ("retry", SKEIN_RETRY_LATER), ("fail", SKEIN_FAILED),
    ("cancelled", SKEIN_CANCELLED),
    ("largeResult", SKEIN_FAILED), ("nulByte", SKEIN_FAILED),
  ])
  func errorsBecomeStatuses(group: String, status: Int32) async {
    fetch(group, call: 1)
    let done = await host.completion(of: 1)
    #expect(done.status == status)
    #expect(done.result.isEmpty)
  }

  @Test func aMalformedRequestFails() async {
    lend([0xff, 0xff, 0xff]) { store.fetch(instance, 1, inAnHour, $0) }
    #expect(await host.completion(of: 1).status == SKEIN_FAILED)
    #expect(host.completions(of: 1) == 1)
  }

  @Test func theDeadlineIsThePluginsToSee() async {
    lend(PluginRemoveOffsets(tenant: "t", group: "answer").encoded()) {
      store.remove(instance, 1, inAnHour, $0)
    }
    #expect(await host.completion(of: 1).status == SKEIN_OK)
    lend(PluginRemoveOffsets(tenant: "t", group: "answer").encoded()) { store.remove(instance, 2, 1, $0) }
    #expect(await host.completion(of: 2).status == SKEIN_FAILED, "a deadline that has passed leaves nothing")
  }

  /// Each cancel comes at another moment of its call: before the task runs, while it waits, after the end.
  @Test func cancelEndsTheTaskAndEachCallOnce() async {
    for call: skein_call in 1...200 {
      fetch(call % 4 == 0 ? "answer" : "waitForCancel", call: call)
      if call % 3 == 0 { await Task.yield() }
      if call % 4 != 0 || call % 8 == 0 { store.cancel(instance, call) }
    }
    for call: skein_call in 1...200 {
      let done = await host.completion(of: call)
      if call % 4 != 0 { #expect(done.status == SKEIN_CANCELLED) }
      store.cancel(instance, call)
    }
    #expect(host.state.withLock { $0.completions.count } == 200)
  }

  @Test func quiesceWaitsForTheOpenCalls() async {
    fetch("waitForCancel", call: 1)
    store.ops.quiesce(instance, 100)
    #expect(host.completions(of: 100) == 0)
    store.cancel(instance, 1)
    _ = await host.completion(of: 100)
    #expect(host.state.withLock { $0.completions.map(\.call) } == [1, 100])
    store.ops.destroy(instance)
    // An idle instance answers at once.
    let idle = ExportedPlugin.create(store.ops, host)
    store.ops.quiesce(idle.instance, 101)
    #expect(host.completions(of: 101) == 1)
    store.ops.destroy(idle.instance)
  }

  @Test func destroyWithAnOpenCallIsSafe() async {
    fetch("waitForCancel", call: 1)
    store.cancel(instance, 1)
    store.ops.destroy(instance)
    #expect(await host.completion(of: 1).status == SKEIN_CANCELLED)
  }

  @Test func withoutAsyncAnAsynchronousKindIsRefused() {
    let made = ExportedPlugin.create(store.ops, FakeHost(services: [SKEIN_HOST_LOG]))
    #expect(made.status == SKEIN_UNSUPPORTED)
    #expect(made.why.contains("skein.host.async/1"))
  }

  @Test func authenticatorsSayWhoItIs() async throws {
    let table = try ExportedPlugin.shared.table(SKEIN_AUTHENTICATOR, skein_authenticator.self)
    #expect(ExportedPlugin.create(table.ops, host).status == SKEIN_BAD_CONFIG, "its secret is not there")
    host.state.withLock { $0.config["secret"] = Array("s3cret".utf8) }
    let instance = try #require(ExportedPlugin.create(table.ops, host).instance)

    func step(_ message: String, _ call: skein_call) async -> FakeHost.Completion {
      let certificate: [UInt8] = [0x30, 0]
      lend(certificate) { certificate in
        withUnsafePointer(to: certificate) { chain in
          lend("broker.example") { name in
            lend("[::1]:9") { address in
              lend([UInt8](repeating: 1, count: 32)) { exporter in
                var peer = skein_peer()
                peer.size = UInt32(MemoryLayout<skein_peer>.size)
                peer.certificates = 1
                peer.chain = chain
                peer.server_name = name
                peer.address = address
                peer.tls_exporter = exporter
                lend("bearer") { mechanism in
                  lend(message) { table.step(instance, call, inAnHour, 5, mechanism, &peer, $0) }
                }
              }
            }
          }
        }
      }
      return await host.completion(of: call)
    }
    let result = try PluginAuthenticateResult(decoding: await step("answer", 1).result)
    #expect(
      result
        == PluginAuthenticateResult(
          tenant: "[::1]:9", principal: "1-broker.example", groups: ["bearer", "32"], expiresMs: 77))
    #expect(try PluginAuthenticateResult(decoding: await step("x", 2).result).challenge == [1, 2, 3])
    #expect(await step("deny", 3).status == SKEIN_DENIED)
    // Nobody, and a name that would end early, are no principals.
    #expect(await step("fail", 4) == .init(call: 4, status: SKEIN_FAILED, result: []))
    #expect(await step("nulByte", 5) == .init(call: 5, status: SKEIN_FAILED, result: []))
    table.end(instance, 5)
    #expect(ScriptedAuthenticator.ended.withLock { $0 } == [5])
    table.ops.destroy(instance)
  }
}
