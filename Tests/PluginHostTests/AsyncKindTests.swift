import NIOCore
import NIOPosix
import PluginPackage
import SkeinCore
import Testing

@testable import PluginHost

/// Authenticators and offset stores in real children: every call is answered once and in time, whatever they do.
@Suite(.timeLimit(.minutes(1))) struct AsyncKindTests {
  @Test func anAuthenticatorAnswers() async throws {
    try await with { test, authenticator in
      #expect(await authenticator.text("good", test) == "alice")
      #expect(await authenticator.reason("else", test) == .tokenInvalid)
    }
  }

  @Test(arguments: ["crash", "never", "huge", "status"])
  func whateverGoesWrongIsARefusal(_ message: String) async throws {
    try await with { test, authenticator in
      #expect(await authenticator.reason(message, test) == .authenticatorUnavailable)
      // The host serves on.
      for _ in 0..<500 {
        if case .success = await authenticator.ask("good", test) { return }
        try await Task.sleep(for: .milliseconds(5))
      }
      Issue.record("never in service again")
    }
  }

  @Test func lateAndDoubleCompletionsAreIgnoredAndCounted() async throws {
    try await with { test, authenticator in
      #expect(await authenticator.text("double", test) == "one")
      #expect(await authenticator.reason("late", test) == .authenticatorUnavailable)
      try await TestHost.eventually("both counts") {
        guard let status = test.host.status(authenticator.reference) else { return false }
        return status.doubleCompletions == 1 && status.lateCompletions == 1
      }
      let kinds = test.host.status(authenticator.reference)?.faults.map(\.kind) ?? []
      #expect(Set(kinds) == [.doubleCompletion, .deadline, .lateCompletion])
      #expect(await authenticator.text("good", test) == "alice")
    }
  }

  @Test func theBreakerStopsAskingWhoDoesNotAnswer() async throws {
    try await with { test, authenticator in
      for _ in 0..<CircuitBreaker.failuresToOpen {
        #expect(await authenticator.reason("never", test) == .authenticatorUnavailable)
      }
      guard case .failure(let fault) = await authenticator.ask("good", test) else {
        throw Missing(what: "a fault")
      }
      #expect(fault.message.contains("failed 5 times in a row"))
      #expect((fault.retryAfterMilliseconds ?? 0) > 0)
    }
  }

  @Test func callsBeyondTheCapAreToldToComeBack() async throws {
    try await with({ $0.maximumOpenCalls = 4 }) { test, authenticator in
      let faults = await withTaskGroup(of: Fault?.self) { group in
        for _ in 0..<6 {
          group.addTask {
            if case .failure(let fault) = await authenticator.ask("never", test) { fault } else { nil }
          }
        }
        return await group.reduce(into: []) { $0.append($1) }
      }
      #expect(faults.compactMap { $0 }.filter { $0.message.contains("4 calls with") }.count == 2)
    }
  }

  @Test func anOffsetStoreIsAskedInBytes() async throws {
    try await TestHost.with { test in
      let store = try await test.host.offsetStore(
        try await TestPlugin.artifact(.good, kinds: [.offsetStore]), config: "", usedBy: "groups")
      for operation in [OffsetStoreOperation.fetch, .scan, .remove] {
        #expect(try await store.ask(operation, [1, 2, 3], test).get() == [1, 2, 3])
      }
      #expect(try await store.ask(.commit, [1], test).get() == [])
      guard case .failure(let fault) = await store.ask(.commit, [], test) else {
        throw Missing(what: "a fault")
      }
      #expect(fault.reason == .conflict)
    }
  }

  private func with(
    _ change: @escaping (inout PluginHostConfiguration) -> Void = { _ in },
    _ body: (TestHost, any AuthenticatorInstance) async throws -> Void
  ) async throws {
    try await TestHost.with({
      change(&$0)
    }) { test in
      let authenticator = try await test.host.authenticator(
        try await TestPlugin.artifact(.good, kinds: [.authenticator]), config: "", usedBy: "listener 1")
      try await body(test, authenticator)
    }
  }
}

extension AuthenticatorInstance {
  func ask(_ message: String, _ test: TestHost) async -> Result<[UInt8], Fault> {
    let loop = test.group.next()
    var peer = PeerEvidence()
    peer.certificates = [[1, 2, 3]]
    peer.address = "127.0.0.1:1"
    // Those that are not answered in time are given a short one.
    let deadline =
      ["never", "late"].contains(message) ? NIODeadline.now() + .milliseconds(200) : .distantFuture
    return await withCheckedContinuation { [peer] continuation in
      step(
        exchange: 1, mechanism: "bearer", peer: peer, message: Array(message.utf8), deadline: deadline,
        on: loop
      ) { continuation.resume(returning: $0) }
    }
  }

  func text(_ message: String, _ test: TestHost) async -> String? {
    if case .success(let bytes) = await ask(message, test) {
      String(decoding: bytes, as: UTF8.self)
    } else {
      nil
    }
  }

  func reason(_ message: String, _ test: TestHost) async -> Reason? {
    if case .failure(let fault) = await ask(message, test) { fault.reason } else { nil }
  }
}

extension OffsetStoreInstance {
  func ask(_ operation: OffsetStoreOperation, _ request: [UInt8], _ test: TestHost) async -> Result<
    [UInt8], Fault
  > {
    let loop = test.group.next()
    return await withCheckedContinuation { continuation in
      ask(operation, request, deadline: .distantFuture, on: loop) { continuation.resume(returning: $0) }
    }
  }
}
