import Foundation
import MetadataStore
import Simulation
import SkeinCore
import Testing

/// What the disk may lose, the store does not: power cuts at random moments under random transactions,
/// then everything that it shows (state, history, revision) against the model.
///
/// `SKEIN_METADATA_SEED=n` runs only seed n, `SKEIN_METADATA_SEEDS=n` runs n instead of 64.
struct SQLitePowerCutTests {
  private static let start = Revision(1)
  private static func named(_ name: String) -> [UInt8] { Array("/p/\(name)".utf8) }

  /// What one run of cuts found.
  private struct Outcome {
    var cuts = 0
    var cutsInFlight = 0
    var survivedInFlight = 0
    /// A description of what was lost or torn; nil if nothing was.
    var loss: String?
  }

  private static let shards = 4

  private static func number(_ name: String) -> Int? {
    ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
  }

  /// The seeds of one shard.
  private static func seeds(_ shard: Int) -> [Int] {
    if let only = number("SKEIN_METADATA_SEED") { return shard == 0 ? [only] : [] }
    return Array(stride(from: shard, to: number("SKEIN_METADATA_SEEDS") ?? 64, by: shards))
  }

  @Test(arguments: 0..<shards)
  func whatWasAnsweredSurvivesAndTheRestIsWholeOrAbsent(_ shard: Int) async throws {
    var total = Outcome()
    let seeds = Self.seeds(shard)
    for seed in seeds {
      let outcome = try await run(seed: UInt64(seed), isDurable: true)
      #expect(outcome.loss == nil, "seed \(seed): \(outcome.loss ?? "")")
      total.cuts += outcome.cuts
      total.cutsInFlight += outcome.cutsInFlight
      total.survivedInFlight += outcome.survivedInFlight
    }
    print("metadata power cuts, shard \(shard): \(seeds.count) seeds, \(total)")
    #expect(seeds.count < 2 || total.cutsInFlight > 0, "no cut hit a transaction: \(total)")
  }

  /// Without syncs the same runs must lose something, or they could not have found a loss above.
  @Test func withoutSyncsTheSameRunsLose() async throws {
    var losses = 0
    for seed in 0..<16 {
      if try await run(seed: UInt64(seed), isDurable: false).loss != nil { losses += 1 }
    }
    #expect(losses >= 8, "only \(losses) of 16 runs without syncs lost anything")
  }

  /// Three lives of one store; each ends with the power going during some disk operation.
  private func run(seed: UInt64, isDurable: Bool) async throws -> Outcome {
    let random = SeededRandom(seed: seed)
    let disk = SimulatedDisk(seed: seed)
    var configuration = SQLiteStore.Configuration()
    configuration.isDurable = isDurable
    // Often, so that cuts fall into checkpoints too.
    configuration.checkpointPages = 6 + random.below(20)
    var model = Model(revision: Self.start)
    var outcome = Outcome()
    for _ in 0..<3 {
      disk.crash(atOperation: disk.operations + 1 + random.below(220))
      let inFlight = await live(on: disk, configuration, random, &model)
      outcome.cuts += 1
      disk.powerCut(seed: random.next())
      do {
        let survived = try await check(disk, configuration, inFlight, &model)
        if inFlight != nil { outcome.cutsInFlight += 1 }
        if survived { outcome.survivedInFlight += 1 }
      } catch let loss as Loss {
        outcome.loss = loss.what
        return outcome
      } catch let error as MetadataError {
        outcome.loss = "\(error)"
        return outcome
      }
    }
    return outcome
  }

  private struct Loss: Error { var what: String }

  /// Works until the power goes; returns the transaction that got no definite answer.
  private func live(
    on disk: SimulatedDisk, _ configuration: SQLiteStore.Configuration, _ random: SeededRandom,
    _ model: inout Model
  ) async -> Transaction? {
    var inFlight: Transaction?
    guard let store = try? await open(disk, configuration) else { return nil }
    while true {
      let transaction = random.transaction(Self.named, newest: model.revision, oldest: Self.start)
      guard model.refusal(transaction) == nil else { continue }
      do {
        let answer = try await store.transact(transaction)
        let expected = model.apply(transaction)
        #expect(answer == expected)
      } catch {
        #expect(disk.isOff, "\(error)")
        if error.outcome == .unknown { inFlight = transaction }
        break
      }
    }
    #expect(await refusal { _ = try await store.range(RangeRequest(.all)) } == .offline)
    await store.close()
    return inFlight
  }

  /// Compares everything; if the unanswered transaction survived, the model takes it over.
  private func check(
    _ disk: SimulatedDisk, _ configuration: SQLiteStore.Configuration, _ inFlight: Transaction?,
    _ model: inout Model
  ) async throws -> Bool {
    let store = try await open(disk, configuration)
    let now = try await store.range(RangeRequest(.all))
    var survived = false
    if now.revision > model.revision, let inFlight {
      _ = model.apply(inFlight)
      survived = true
    }
    guard now.revision == model.revision else {
      throw Loss(what: "revision \(now.revision) instead of \(model.revision)")
    }
    guard now.keyValues == model.states[model.revision] else { throw Loss(what: "the state differs") }
    if !model.history.isEmpty {
      var seen: [WatchUpdate] = []
      for try await update in try await store.watch(WatchRequest(.all, from: Self.start, previous: true)) {
        seen.append(update)
        if seen.count == model.history.count { break }
      }
      guard seen == model.history else { throw Loss(what: "the history differs") }
    }
    await store.close()
    return survived
  }

  private func open(
    _ disk: SimulatedDisk, _ configuration: SQLiteStore.Configuration
  ) async throws -> SQLiteStore {
    try await SQLiteStore.open(
      disk: disk, path: "metadata.db", configuration: configuration, time: SimulatedTime(),
      random: SeededRandom(seed: 1))
  }
}
