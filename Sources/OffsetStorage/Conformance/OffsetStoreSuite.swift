/// What every `OffsetStore` is held to, one case a promise or a trap. The built-in ones pass it in their tests, those of
/// plug-ins against the real servers (`StoreDriver`).
///
/// A store may live longer than a run: each case works in tenants of its own, named after `run`.
package struct OffsetStoreSuite: Sendable {
  /// How the store under test is come by.
  package struct Subject: Sendable {
    /// Opens it, with what was stored before. Called again after `close`.
    package var open: @Sendable () async throws -> any OffsetStore

    package init(open: @escaping @Sendable () async throws -> any OffsetStore) { self.open = open }
  }

  package struct Case: Sendable {
    /// GROUP.WHAT
    package var name: String
    package var promise: String
    let body: @Sendable (StoreScene) async throws -> Void

    init(_ name: String, _ promise: String, _ body: @escaping @Sendable (StoreScene) async throws -> Void) {
      self.name = name
      self.promise = promise
      self.body = body
    }
  }

  package struct Outcome: Sendable {
    package var name: String
    package var promise: String
    /// nil = kept.
    package var broken: String?
    package var milliseconds: Int64
  }

  /// All of them, in the order in which they are best read when several fail.
  package static let cases: [Case] =
    commitCases + fenceCases + fetchCases + scanCases + removeCases + nameCases + raceCases + sizeCases

  private let subject: Subject
  private let run: String

  /// - Parameter run: names the tenants; lower-case letters, digits and `-`, new for each run.
  package init(_ subject: Subject, run: String) {
    self.subject = subject
    self.run = run
  }

  /// Runs one case on a freshly opened store, and closes it.
  package func run(_ one: Case) async -> Outcome {
    let clock = ContinuousClock()
    let began = clock.now
    var broken: String?
    do {
      let scene = StoreScene(
        subject, tenant: "\(run)-\(one.name.replacing(".", with: "-"))", store: try await subject.open())
      do {
        try await one.body(scene)
      } catch {
        broken = Self.text(error)
      }
      await scene.store.close()
    } catch {
      broken = "it does not open: \(Self.text(error))"
    }
    let took = began.duration(to: clock.now)
    return Outcome(
      name: one.name, promise: one.promise, broken: broken,
      milliseconds: took.components.seconds * 1_000 + took.components.attoseconds / 1_000_000_000_000_000)
  }

  /// Those whose names begin so; nil = all.
  package func run(_ prefix: String? = nil, _ each: (Outcome) -> Void = { _ in }) async -> [Outcome] {
    var outcomes: [Outcome] = []
    for one in Self.cases where prefix.map({ one.name.hasPrefix($0) }) ?? true {
      let outcome = await run(one)
      each(outcome)
      outcomes.append(outcome)
    }
    return outcomes
  }

  private static func text(_ error: any Error) -> String {
    if let broken = error as? BrokenPromise { return broken.what }
    return "\(error)"
  }
}

/// A promise that a store did not keep.
package struct BrokenPromise: Error, CustomStringConvertible {
  package var what: String
  init(_ what: String) { self.what = what }
  package var description: String { what }
}
