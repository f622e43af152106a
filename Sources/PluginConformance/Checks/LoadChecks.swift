import CSkeinPlugin
import CSkeinShims
import Foundation
import Glibc
import PluginPackage
import SkeinCore

/// Loading, the tables, making and ending instances.
enum LoadChecks {
  static let all: [Check] = [
    Check(
      "load.entry", "It loads, and its entry gives a table, within 5 s.", after: ["binary.elf"], seconds: 6
    ) {
      context in
      let start = Monotonic.now()
      _ = try context.load()
      let milliseconds = Double(Monotonic.now() - start) / 1e6
      return .passed(["load_ms": milliseconds])
    },
    Check(
      "load.identity", "Id, version, kinds and flags are the manifest's.", after: ["load.entry"], identity),
    Check(
      "load.create", "create succeeds with the configuration, within 5 s.", after: ["load.identity"],
      seconds: 15, create),
    Check(
      "load.optional", "It also loads where the host services that it does not require are absent.",
      after: ["load.create"], optional),
    Check(
      "load.shorter", "A host whose tables are shorter (an older minor) does not make it read behind them.",
      after: ["load.create"], shorter),
    Check(
      "load.longer", "A host whose tables are longer (a newer minor) is as good.", after: ["load.create"],
      longer),
    Check(
      "load.bad-config", "A bad configuration gets BAD_CONFIG and a why, and harms no other instance.",
      after: ["load.create"], badConfig),
    Check(
      "load.churn", "Making and ending 100 instances leaves no memory, descriptors or threads behind.",
      after: ["load.create"], seconds: 30, churn),
    Check(
      "load.second-copy", "A second copy beside it (the next version, during a swap) is a separate one.",
      after: ["load.create"], secondCopy),
  ]

  private static func identity(_ context: CheckContext) throws -> Finding {
    let plugin = try context.load()
    let reference = context.manifest.reference
    guard plugin.id == reference.id, plugin.version == reference.version else {
      throw Broken(
        "the file says \(plugin.id.displayable)@\(plugin.version.displayable), the manifest \(reference)",
        cure: "make the two the same: what is installed under a name must be that")
    }
    for kind in PluginKind.allCases where !context.kinds.contains(kind) && plugin.table(kind) != nil {
      throw Broken(
        "the file has a table for \(kind.rawValue), which the manifest does not name",
        cure: "add the kind to the manifest, or answer NULL for it")
    }
    for kind in context.kinds {
      _ = try plugin.ops(kind)
      guard plugin.table(kind) == plugin.table(kind) else {
        throw Broken(
          "get(\"\(kind.rawValue)\") gives another table each time", cure: "give the same static table")
      }
    }
    guard plugin.entry.get("skein.conformance.unknown/1") == nil else {
      throw Broken(
        "get gives a table for a kind that does not exist", cure: "give NULL for ids that you do not know")
    }
    if context.kinds.contains(.partitioner) {
      let isPure = try plugin.partitioner().flags & UInt32(SKEIN_PARTITIONER_PURE) != 0
      guard isPure == context.manifest.isPure else {
        throw Broken(
          "the table says \(isPure ? "PURE" : "not PURE"), the manifest \(context.manifest.isPure ? "pure" : "not pure")",
          cure: "set the flag SKEIN_PARTITIONER_PURE and the manifest's `pure` alike")
      }
    }
    return .passed()
  }

  private static func create(_ context: CheckContext) throws -> Finding {
    let plugin = try context.load()
    var slowest = 0.0
    for kind in context.kinds {
      let start = Monotonic.now()
      let instance = try context.create(plugin, kind)
      slowest = max(slowest, Double(Monotonic.now() - start) / 1e6)
      instance.destroy(doing: context.doing)
    }
    guard slowest <= 5_000 else {
      throw Broken(
        "create took \(Int(slowest)) ms; a control call may block for 5,000",
        cure: "do slow work in the background",
        measured: ["create_ms": slowest])
    }
    return .passed(["create_ms": slowest])
  }

  private static func optional(_ context: CheckContext) throws -> Finding {
    let plugin = try context.load(.init(services: Set(context.manifest.requires)))
    for kind in context.kinds { try context.create(plugin, kind).destroy(doing: context.doing) }
    return .passed()
  }

  private static func shorter(_ context: CheckContext) throws -> Finding {
    // Each table without its last function, then without any. To refuse such a host is the plug-in's right.
    for growth in [-8, -16] {
      do {
        let plugin = try context.load(.init(growth: growth))
        for kind in context.kinds {
          if case .made(let instance) = try context.tryCreate(plugin, kind) {
            instance.destroy(doing: context.doing)
          }
        }
      } catch let broken as Broken {
        if broken.finding.cause?.contains("gave NULL") != true { throw broken }
      }
    }
    return .passed()
  }

  private static func longer(_ context: CheckContext) throws -> Finding {
    let plugin = try context.load(.init(growth: 64))
    for kind in context.kinds { try context.create(plugin, kind).destroy(doing: context.doing) }
    return .passed()
  }

  private static func badConfig(_ context: CheckContext) throws -> Finding {
    let plugin = try context.load()
    var refused = 0
    for kind in context.kinds {
      let before = try context.create(plugin, kind)
      for bad in ConfigSamples.bad(schema: context.manifest.configSchema, good: context.request.config) {
        switch try context.tryCreate(plugin, kind, config: bad.json) {
        case .made(let instance):
          instance.destroy(doing: context.doing)
          guard !bad.mustBeRefused else {
            throw Broken(
              "create took the configuration \(bad.json.prefix(200)), in which \(bad.what)",
              cure: "check every member that the config_schema names, and give SKEIN_BAD_CONFIG")
          }
        case .refused(let status, let why):
          refused += 1
          guard status == SKEIN_BAD_CONFIG else {
            throw Broken(
              "create gave status \(status) for a configuration in which \(bad.what)",
              cure: "give SKEIN_BAD_CONFIG (5)")
          }
          guard !why.isEmpty, String(validating: why, as: UTF8.self) != nil else {
            throw Broken(
              "create gave SKEIN_BAD_CONFIG without a why, for a configuration in which \(bad.what)",
              cure: "point `why` to a static sentence that says what is wrong and what would be right")
          }
        }
      }
      before.destroy(doing: context.doing)
    }
    return .passed(["refused": Double(refused)])
  }

  private static func secondCopy(_ context: CheckContext) throws -> Finding {
    let first = try context.load()
    let bytes = try context.bytes()
    let copy = bytes.withUnsafeBytes { skein_conformance_sealed("copy", $0.baseAddress, $0.count) }
    guard copy >= 0 else { return .skipped("no memory file for a copy") }
    let second = try PluginUnderTest(descriptor: copy, host: TestHost(), doing: context.doing)
    guard first.handle != second.handle else {
      throw Broken(
        "the loader gave the first copy again", cure: "link without -soname and without RTLD_GLOBAL tricks")
    }
    for kind in context.kinds {
      let a = try context.create(first, kind)
      let b = try context.create(second, kind)
      a.destroy(doing: context.doing)
      let c = try context.create(second, kind)
      b.destroy(doing: context.doing)
      c.destroy(doing: context.doing)
    }
    return .passed()
  }

  private static func churn(_ context: CheckContext) throws -> Finding {
    let plugin = try context.load()
    let round = {
      for _ in 0..<100 {
        for kind in context.kinds { try context.create(plugin, kind).destroy(doing: context.doing) }
      }
    }
    // What is made once, at first use, is no leak.
    try round()
    try round()
    return try Growth.measure(
      rounds: 3, of: "100 instances", cure: "free in destroy what create made: memory, descriptors, threads",
      round)
  }
}

/// Whether something that is done over and over leaves more behind each time.
enum Growth {
  /// What may remain of one round, in bytes.
  static let allowed = 16_384.0

  static func measure(rounds: Int, of what: String, cure: String, _ round: () throws -> Void) throws
    -> Finding
  {
    var heap: [Double] = []
    var resident: [Double] = []
    var last = Footprint.now()
    let first = last
    for _ in 0..<rounds {
      try round()
      let now = Footprint.settled(threads: first.threads)
      heap.append(now.heap - last.heap)
      resident.append(now.resident - last.resident)
      last = now
    }
    let least = heap.min() ?? 0
    let leastResident = resident.min() ?? 0
    let measured = [
      "heap_growth_bytes": least, "rss_growth_bytes": leastResident,
      "descriptor_growth": last.descriptors - first.descriptors,
      "thread_growth": last.threads - first.threads,
    ]
    var leaks: [String] = []
    // Growth in every round: a cache that fills once grows in one.
    if least > allowed || leastResident > 1_048_576 {
      leaks.append("\(Int(max(least, leastResident))) bytes of memory")
    }
    if last.descriptors > first.descriptors + 2 {
      leaks.append("\(Int(last.descriptors - first.descriptors) / rounds) descriptors")
    }
    if last.threads > first.threads + 4 {
      leaks.append("\(Int(last.threads - first.threads) / rounds) threads")
    }
    guard leaks.isEmpty else {
      throw Broken("\(what) leave \(leaks.joined(separator: ", ")) behind", cure: cure, measured: measured)
    }
    return .passed(measured)
  }
}

/// What this process holds.
struct Footprint {
  var heap: Double
  var resident: Double
  var descriptors: Double
  var threads: Double

  static func now() -> Footprint {
    let statm = (try? String(contentsOf: URL(fileURLWithPath: "/proc/self/statm"), encoding: .utf8)) ?? ""
    let pages = statm.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
    return Footprint(
      heap: Double(skein_conformance_heap_bytes()), resident: pages * 4_096,
      descriptors: entries("/proc/self/fd"),
      threads: entries("/proc/self/task"))
  }

  /// Threads that were told to end take a moment.
  static func settled(threads: Double) -> Footprint {
    for _ in 0..<20 {
      if entries("/proc/self/task") <= threads { break }
      usleep(10_000)
    }
    return now()
  }

  private static func entries(_ folder: String) -> Double {
    Double((try? FileManager.default.contentsOfDirectory(atPath: folder).count) ?? 0)
  }
}
