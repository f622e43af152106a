import CommitLog
import DiskIO
import Foundation
import OffsetStorage
import Simulation
import SkeinCore
import Testing

/// The suite of all stores: what passes it, and that it finds what is broken.
@Suite struct SuiteTests {
  @Test(arguments: OffsetStoreSuite.cases.map(\.name))
  func theModelKeepsEveryPromise(_ name: String) async throws {
    let medium = MemoryStore.Medium()
    let suite = OffsetStoreSuite(.init { MemoryStore(medium, nil) }, run: "model")
    let outcome = try #require(await suite.run(name).first)
    #expect(outcome.broken == nil, "\(outcome.broken ?? "")")
  }

  @Test(arguments: OffsetStoreSuite.cases.map(\.name))
  func sqliteKeepsEveryPromise(_ name: String) async throws {
    let disk = SimulatedDisk(seed: 1)
    let suite = OffsetStoreSuite(
      .init {
        var configuration = SQLiteOffsetStore.Configuration()
        configuration.checkpointPages = 20
        configuration.offsetsPerTransaction = 7
        return try await SQLiteOffsetStore.open(
          disk: disk, path: "offsets.db", configuration: configuration, time: SimulatedTime(),
          random: SeededRandom(seed: 1))
      }, run: "sqlite")
    let outcome = try #require(await suite.run(name).first)
    #expect(outcome.broken == nil, "\(outcome.broken ?? "")")
  }

  @Test func sqliteKeepsEveryPromiseOnARealDisk() async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-offsets-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let disk = try FileDisk(root: folder.path)
    let suite = OffsetStoreSuite(
      .init {
        try await SQLiteOffsetStore.open(
          disk: disk, path: "offsets.db", time: SimulatedTime(), random: SeededRandom(seed: 1))
      }, run: "real")
    for outcome in await suite.run() {
      #expect(outcome.broken == nil, "\(outcome.name): \(outcome.broken ?? "")")
    }
  }

  /// Each mistake is found by the case that is there for it.
  @Test(arguments: MemoryStore.Breakage.allCases)
  func aBrokenStoreIsFound(_ breakage: MemoryStore.Breakage) async throws {
    let medium = MemoryStore.Medium()
    let suite = OffsetStoreSuite(.init { MemoryStore(medium, breakage) }, run: "broken")
    let outcome = try #require(await suite.run(breakage.foundBy).first)
    #expect(outcome.broken != nil, "\(breakage.foundBy) did not notice \(breakage)")
  }
}

extension MemoryStore.Breakage {
  fileprivate var foundBy: String {
    switch self {
    case .acceptsOlderEpochs: "fence.older-epoch"
    case .goesBackInOneEpoch, .neverGoesBack: "fence.back"
    case .storesPartOfARefusedCommit: "fence.whole"
    case .refusesTheSameAgain: "commit.again"
    case .forgetsWhenReopened, .forgetsEpochsWhenReopened: "commit.durable"
    case .keepsTheEpochOverAReset, .fencesNobody: "fence.nobody"
    case .oneEpochForAGroup: "fence.each-partition"
    case .storesLater: "commit.in-turn"
    case .checksBeforeItWaits: "race.fence"
    case .fetchesWithoutALock: "race.whole"
    case .ignoresPartitionsOfAFetch, .takesNoPartitionsForAll: "fetch.some"
    case .ignoresTheTopic: "fetch.topics"
    case .mixesTenants, .mixesTenantAndGroup: "name.tenants"
    case .foldsCase, .trimsNames: "name.any"
    case .cutsMetadata, .composesUnicode: "name.metadata"
    case .scanSkipsAtPageEnds, .scanRepeatsAtPageEnds, .scanCountsGroups: "scan.pages"
    case .scanInOrderOfCreation: "scan.order"
    case .scanByPosition: "scan.while-changed"
    case .removesOfOtherGroups: "remove.all"
    case .removesWithPatterns: "name.any"
    case .removesNothing: "remove.some"
    case .rememberEpochsOfRemoved: "remove.forgets"
    case .cutsLargeCommits: "size.many"
    case .cutsNumbersTo32Bits: "size.extremes"
    case .dropsLeaderEpoch: "commit.whole"
    case .emptyCommitMakesAGroup: "commit.nothing"
    }
  }
}
