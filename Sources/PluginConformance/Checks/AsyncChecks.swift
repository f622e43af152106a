import CSkeinPlugin
import Glibc
import PluginPackage

/// What every kind with asynchronous calls promises.
enum AsyncChecks {
  static let all: [Check] = [
    check(
      "async.once", "Every call is completed exactly once, with a status that exists and at most 1 MiB.", once
    ),
    check(
      "async.cancel", "Cancelling before, during and after a call is safe, and the call ends soon.",
      after: ["async.once"], cancel),
    check("async.deadline", "Every call ends by its deadline.", deadline),
    check("async.open", "1,000 calls may be open at once.", seconds: 30, manyOpen),
    check("async.quiesce", "quiesce completes once, with OK, and only after all open calls.", quiesce),
    check("async.destroy", "After destroy nothing is completed any more.", after: ["async.quiesce"], destroy),
  ]

  /// How much later than its deadline a call may end: a busy machine's threads wake late.
  static let grace = 0.25

  private static func check(
    _ name: String, _ promise: String, after: [String] = [], seconds: Double = 20,
    _ body: @escaping @Sendable (CheckContext, PluginKind) throws -> Void
  ) -> Check {
    Check(
      name, promise, kinds: [.offsetStore, .authenticator], after: ["calls.basic"] + after, seconds: seconds
    ) { context in
      for kind in context.kinds where kind != .partitioner { try body(context, kind) }
      return .passed()
    }
  }

  private static func finish(_ calls: [skein_call], _ subject: AsyncSubject, seconds: Double, _ what: String)
    throws
  {
    let open = subject.host.wait(for: calls, seconds: seconds)
    guard open.isEmpty else {
      throw Broken(
        "\(open.count) of \(calls.count) call(s) were never completed \(what)",
        cure: "end every call by exactly one `complete`, also when it fails or is cancelled")
    }
  }

  /// Duplicates come when they come: they are looked for a while after the last completion.
  private static func checkDuplicates(_ subject: AsyncSubject) throws {
    usleep(150_000)
    guard subject.host.duplicates.isEmpty else {
      throw Broken(
        "\(subject.host.duplicates.count) call(s) were completed twice",
        cure: "decide under one lock who completes: the work, the cancel or the deadline")
    }
    guard subject.host.unknown.isEmpty else {
      throw Broken("complete was called for a call that never was", cure: "keep the token as it was given")
    }
  }

  private static func once(_ context: CheckContext, _ kind: PluginKind) throws {
    let subject = try AsyncSubject(context, try context.load(), kind)
    let calls = (0..<200).map { _ in subject.harmless(deadline: AsyncSubject.deadline(in: 0.2)) }
    try finish(calls, subject, seconds: 10, "within 10 s")
    try checkDuplicates(subject)
    for call in calls {
      guard let end = subject.host.completion(of: call), (0...6).contains(end.status) else {
        throw Broken(
          "a call was completed with a status that does not exist", cure: "use SKEIN_OK to SKEIN_UNSUPPORTED")
      }
    }
    guard subject.host.oversized == 0 else {
      throw Broken("a result has more than 1 MiB", cure: "give less: a page and a token for the next")
    }
  }

  private static func cancel(_ context: CheckContext, _ kind: PluginKind) throws {
    let subject = try AsyncSubject(context, try context.load(), kind)
    // Before: a token that this instance never saw.
    let never = subject.host.newCall()
    subject.cancel(never)
    var calls: [skein_call] = []
    for _ in 0..<100 {
      let call = subject.harmless(deadline: AsyncSubject.deadline(in: 30))
      subject.cancel(call)
      calls.append(call)
    }
    try finish(calls, subject, seconds: 3, "within 3 s of cancel")
    for call in calls { subject.cancel(call) }
    subject.cancel(never)
    guard subject.host.completion(of: never) == nil else {
      throw Broken("cancel completed a call that never came", cure: "ignore tokens that are not open")
    }
    try checkDuplicates(subject)
    let call = subject.harmless(deadline: AsyncSubject.deadline(in: 2))
    try finish([call], subject, seconds: 5, "after others were cancelled")
  }

  private static func deadline(_ context: CheckContext, _ kind: PluginKind) throws {
    let subject = try AsyncSubject(context, try context.load(), kind)
    var deadlines: [skein_call: UInt64] = [:]
    for seconds in [0.0, 0.001, 0.02, 0.05, 0.1, 0.2] {
      let end = AsyncSubject.deadline(in: seconds)
      deadlines[subject.harmless(deadline: end)] = end
    }
    try finish(Array(deadlines.keys), subject, seconds: 8, "within 8 s")
    for (call, end) in deadlines {
      guard let completion = subject.host.completion(of: call) else { continue }
      let late = completion.time > end ? Double(completion.time - end) / 1e9 : 0
      guard late <= grace else {
        throw Broken(
          "a call was completed \(Int(late * 1_000)) ms after its deadline",
          cure: "give up at deadline_ns (CLOCK_MONOTONIC) with SKEIN_CANCELLED",
          measured: ["late_ms": late * 1_000])
      }
    }
  }

  private static func manyOpen(_ context: CheckContext, _ kind: PluginKind) throws {
    let subject = try AsyncSubject(context, try context.load(), kind)
    let calls = (0..<1_000).map { _ in subject.harmless(deadline: AsyncSubject.deadline(in: 5)) }
    try finish(calls, subject, seconds: 8, "with 1,000 begun one after another")
    subject.endExchanges()
  }

  private static func quiesce(_ context: CheckContext, _ kind: PluginKind) throws {
    let subject = try AsyncSubject(context, try context.load(), kind)
    let calls = (0..<100).map { _ in subject.harmless(deadline: AsyncSubject.deadline(in: 1)) }
    let done = try subject.quiesce()
    guard subject.host.wait(for: [done], seconds: 8).isEmpty, let end = subject.host.completion(of: done)
    else {
      throw Broken("quiesce was not completed within 8 s", cure: "complete `done` once no call is open")
    }
    guard end.status == SKEIN_OK else {
      throw Broken("quiesce was completed with status \(end.status)", cure: "complete it with SKEIN_OK")
    }
    let open = calls.filter { call in subject.host.completion(of: call).map { $0.time > end.time } ?? true }
    guard open.isEmpty else {
      throw Broken(
        "quiesce was completed while \(open.count) call(s) were open",
        cure: "count the open calls, and wait for the last")
    }
    usleep(100_000)
    guard !subject.host.duplicates.contains(done) else {
      throw Broken("quiesce was completed twice", cure: "complete `done` once")
    }
  }

  private static func destroy(_ context: CheckContext, _ kind: PluginKind) throws {
    let plugin = try context.load()
    for _ in 0..<4 {
      let subject = try AsyncSubject(context, plugin, kind)
      for _ in 0..<10 { _ = subject.harmless(deadline: AsyncSubject.deadline(in: 0.2)) }
      try subject.close()
    }
    let before = plugin.host.duplicates.count + plugin.host.unknown.count
    usleep(500_000)
    guard plugin.host.duplicates.count + plugin.host.unknown.count == before else {
      throw Broken("complete was called after destroy", cure: "let destroy wait for the instance's threads")
    }
  }
}
