import CSkeinPlugin
import Glibc
import PluginPackage
import Wire

/// Where groups stand: what was acknowledged is read, and nobody stale overwrites it.
enum OffsetStoreChecks {
  static let all: [Check] = [
    check("store.read-your-write", "What was committed is fetched, and nothing that was not.", readYourWrite),
    check(
      "store.commits", "Of commits that were acknowledged one after another, the last holds.", commits,
      after: ["store.read-your-write"]),
    check(
      "store.fence", "A commit of an older member epoch is denied, as a whole.", fence,
      after: ["store.read-your-write"]),
    check(
      "store.scan", "Pages together hold every offset once, in the order of the groups.", scan,
      after: ["store.read-your-write"]),
    check("store.remove", "A removed group is gone, and no other.", remove, after: ["store.read-your-write"]),
    check(
      "store.malformed", "Malformed requests are refused, and change nothing.", malformed,
      after: ["store.read-your-write"]),
  ]

  private static func check(
    _ name: String, _ promise: String, _ body: @escaping @Sendable (AsyncSubject, String) throws -> Void,
    after: [String] = []
  ) -> Check {
    Check(name, promise, kinds: [.offsetStore], after: ["calls.basic"] + after, seconds: 30) { context in
      let subject = try AsyncSubject(context, try context.load(), .offsetStore)
      if context.manifest.needsNetwork, try isUnreachable(subject) {
        return .skipped("its server does not answer (RETRY_LATER); --config names one that runs")
      }
      // A store may live longer than this run: its groups are named by the process.
      try body(subject, "conformance-\(getpid())")
      return .passed()
    }
  }

  /// A store in another process is not ours to start.
  private static func isUnreachable(_ subject: AsyncSubject) throws -> Bool {
    try call(subject, .fetch, StoreMessages.fetch(group: "conformance-nobody")).status == SKEIN_RETRY_LATER
  }

  private static func call(
    _ subject: AsyncSubject, _ what: AsyncSubject.StoreCall, _ request: [UInt8]
  ) throws -> TestHost.Completion {
    let call = subject.begin(what, request, deadline: AsyncSubject.deadline(in: 2))
    guard subject.host.wait(for: [call], seconds: 5).isEmpty, let end = subject.host.completion(of: call)
    else {
      throw Broken("\(what.rawValue) was never completed", cure: "end every call by exactly one `complete`")
    }
    return end
  }

  private static func succeed(
    _ subject: AsyncSubject, _ what: AsyncSubject.StoreCall, _ request: [UInt8]
  ) throws -> [UInt8] {
    let end = try call(subject, what, request)
    guard end.status == SKEIN_OK else {
      throw Broken(
        "\(what.rawValue) gave status \(end.status)",
        cure: "do what was asked, or say RETRY_LATER only when another try helps")
    }
    return end.result
  }

  private static func fetch(_ subject: AsyncSubject, _ group: String) throws -> [Int32: Int64] {
    let page = try StoreMessages.page(try succeed(subject, .fetch, StoreMessages.fetch(group: group)))
    guard page.groups.allSatisfy({ $0.group == group }) else {
      throw Broken("fetch of one group gave another one", cure: "look for tenant and group, both whole")
    }
    return Dictionary(
      page.groups.flatMap(\.offsets).map { ($0.partition, $0.offset) }, uniquingKeysWith: { _, last in last })
  }

  private static func expect(
    _ subject: AsyncSubject, _ group: String, _ offsets: [Int32: Int64], _ when: String
  ) throws {
    let found = try fetch(subject, group)
    guard found == offsets else {
      let seen = found.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }.joined(separator: " ")
      let wanted = offsets.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }.joined(separator: " ")
      throw Broken(
        "\(when), fetch gave {\(seen)} instead of {\(wanted)}",
        cure: "store before you complete, and all of it")
    }
  }

  private static func readYourWrite(_ subject: AsyncSubject, _ group: String) throws {
    try expect(subject, "\(group)-never", [:], "for a group that never committed")
    _ = try succeed(
      subject, .commit, StoreMessages.commit(group: group, epoch: 1, [(0, 10), (1, 0), (7, .max)]))
    try expect(subject, group, [0: 10, 1: 0, 7: .max], "after a commit of three offsets")
    try expect(subject, group + "-other", [:], "for another group")
    _ = try succeed(subject, .commit, StoreMessages.commit(group: group, epoch: 1, [(1, 5)]))
    try expect(subject, group, [0: 10, 1: 5, 7: .max], "after a commit of one more offset")
  }

  private static func commits(_ subject: AsyncSubject, _ group: String) throws {
    for offset in Int64(1)...200 {
      _ = try succeed(subject, .commit, StoreMessages.commit(group: group, epoch: 3, [(0, offset)]))
      if offset % 20 == 0 { try expect(subject, group, [0: offset], "after \(offset) commits") }
    }
  }

  private static func fence(_ subject: AsyncSubject, _ group: String) throws {
    _ = try succeed(subject, .commit, StoreMessages.commit(group: group, epoch: 5, [(0, 50), (1, 51)]))
    let stale = try call(subject, .commit, StoreMessages.commit(group: group, epoch: 4, [(0, 40), (2, 42)]))
    guard stale.status == SKEIN_DENIED else {
      throw Broken(
        "a commit of epoch 4 after one of epoch 5 gave status \(stale.status)", cure: "give SKEIN_DENIED (4)")
    }
    try expect(subject, group, [0: 50, 1: 51], "after a denied commit")
    _ = try succeed(subject, .commit, StoreMessages.commit(group: group, epoch: 6, [(0, 60)]))
    try expect(subject, group, [0: 60, 1: 51], "after a commit of a newer epoch")
  }

  private static func scan(_ subject: AsyncSubject, _ group: String) throws {
    let names = (0..<7).map { "\(group)-\($0)" }
    for name in names {
      _ = try succeed(
        subject, .commit, StoreMessages.commit(group: name, epoch: 1, [(0, 1), (1, 2), (2, 3)]))
    }
    var seen: [String] = []
    var token = ""
    for _ in 0..<10_000 {
      let page = try StoreMessages.page(
        try succeed(subject, .scan, StoreMessages.scan(token: token, limit: 4)))
      let offsets = page.groups.flatMap { group in group.offsets.map { "\(group.group)/\($0.partition)" } }
      guard offsets.count <= 4 else {
        throw Broken("a page of at most 4 offsets has \(offsets.count)", cure: "count offsets, not groups")
      }
      seen += offsets
      token = page.token
      if token.isEmpty { break }
    }
    let ours = seen.filter { $0.hasPrefix(group + "-") }
    let wanted = names.flatMap { name in (0..<3).map { "\(name)/\($0)" } }
    guard Set(ours).count == ours.count, Set(ours) == Set(wanted) else {
      throw Broken(
        "the pages hold \(ours.count) offsets of 21, \(Set(ours).count) of them different",
        cure: "let the token name the last offset of the page")
    }
    let order = ours.map { String($0.prefix { $0 != "/" }) }
    guard order == order.sorted() else {
      throw Broken("groups are not in the order of their names", cure: "sort by the bytes of the name")
    }
  }

  private static func remove(_ subject: AsyncSubject, _ group: String) throws {
    for name in [group, group + "-kept"] {
      _ = try succeed(subject, .commit, StoreMessages.commit(group: name, epoch: 1, [(0, 1)]))
    }
    _ = try succeed(subject, .remove, StoreMessages.remove(group: group))
    try expect(subject, group, [:], "after remove")
    try expect(subject, group + "-kept", [0: 1], "after another group was removed")
  }

  private static func malformed(_ subject: AsyncSubject, _ group: String) throws {
    _ = try succeed(subject, .commit, StoreMessages.commit(group: group, epoch: 1, [(0, 1)]))
    let good = StoreMessages.commit(group: group, epoch: 2, [(0, 2)])
    for bad in [
      [0xff, 0xff, 0xff], [0x0a, 0x7f], Array(good.dropLast(3)), [0x22, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ] as [[UInt8]] {
      let end = try call(subject, .commit, bad)
      guard end.status != SKEIN_OK else {
        throw Broken("commit of a malformed request gave OK", cure: "decode strictly, and give SKEIN_FAILED")
      }
    }
    try expect(subject, group, [0: 1], "after malformed commits")
  }
}
