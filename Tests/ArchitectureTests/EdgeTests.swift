import Testing

/// The one-way order of the modules, and proof that the checks can refuse.
@Suite struct EdgeTests {
  @Test func packageDescriptionEqualsTheTable() throws {
    let found = EdgeRules.check(try Repository.packageDescription())
    #expect(found.isEmpty, "\(list(found))")
  }

  @Test func tablePointsOneWay() {
    let found = EdgeRules.checkDirections(ModuleTable.rows)
    #expect(found.isEmpty, "\(list(found))")
  }

  @Test func importsAreEdgesOfTheTable() throws {
    let files = try Repository.swiftFiles(in: "Sources") + Repository.swiftFiles(in: "Tests/Simulation")
    #expect(files.count > 10, "found only \(files.count) source files: is the root right?")
    let found = files.flatMap(EdgeRules.check)
    #expect(found.isEmpty, "\(list(found))")
  }

  // MARK: Bad samples

  @Test func refusesAnEdgeThatTheTableDoesNotKnow() {
    var targets = ModuleTable.rows.map {
      PackageDescription.Target(name: $0.key, type: "regular", dependencies: $0.value.uses)
    }
    #expect(EdgeRules.check(PackageDescription(targets: targets)).isEmpty)
    targets.removeAll { $0.name == "SkeinClient" }
    let row = ModuleTable.rows["SkeinClient"]?.uses ?? []
    targets.append(.init(name: "SkeinClient", type: "regular", dependencies: row.union(["CommitLog"])))
    #expect(
      EdgeRules.check(PackageDescription(targets: targets)).map(\.description) == [
        "SkeinClient: may not depend on CommitLog"
      ])
  }

  @Test func refusesATargetWithoutRowAndARowWithoutTarget() {
    let found = EdgeRules.check(
      PackageDescription(targets: [
        .init(name: "Shortcut", type: "regular", dependencies: ["Broker"]),
        .init(name: "BrokerTests", type: "test", dependencies: ["skeind"]),
      ]))
    #expect(found.contains { $0.place == "Shortcut" })
    #expect(found.contains { $0.place == "SkeinCore" })
    #expect(found.contains { $0.place == "BrokerTests" })
  }

  @Test func refusesAClientThatSeesTheBrokerAndACycle() {
    var rows = ModuleTable.rows
    rows["SkeinClient"] = ModuleRow(uses: ["CommitLog"])
    rows["SkeinCore"] = ModuleRow(uses: ["CommitLog"], isPure: true)
    rows["RecordFormat"] = ModuleRow(uses: ["NIOCore"], isPure: true)
    let found = EdgeRules.checkDirections(rows).map(\.description)
    #expect(found.contains("SkeinClient: a client may not see the broker's CommitLog"))
    #expect(found.contains("SkeinCore: depends on itself"))
    #expect(found.contains("RecordFormat: a pure module may not use NIOCore"))
  }

  @Test(arguments: [
    ("SkeinCore", "import Foundation"),
    ("RecordFormat", "internal import NIOCore"),
    ("CommitLog", "import Dispatch"),
    ("CommitLog", "import Glibc"),
    ("Simulation", "package import Foundation"),
    ("Broker", "import COpenSSL"),
    ("SkeinClient", "@preconcurrency import CNGHTTP2"),
    ("Broker", "import CSkeinProto"),
    ("Transport", "import Wire"),
    ("SkeinClient", "public import CommitLog"),
    ("skein", "import struct Broker.Thing"),
    ("Transport", "import SomethingNew"),
    ("Unknown", "import SkeinCore"),
  ])
  func refusesAnImport(module: String, line: String) {
    let file = SwiftSource(path: "Sources/\(module)/Sample.swift", text: "// header\n\(line)\n")
    #expect(EdgeRules.check(file).count == 1)
  }

  @Test func acceptsImportsOfTheTableAndIgnoresProse() {
    let text = """
      // import Foundation
      /* import Dispatch /* nested */ import NIOCore */
      package import SkeinCore
      internal import RecordFormat
      let text = "import Foundation"
      """
    let file = SwiftSource(path: "Sources/CommitLog/Sample.swift", text: text)
    #expect(EdgeRules.check(file).isEmpty)
    #expect(file.imports.map(\.module) == ["SkeinCore", "RecordFormat"])
  }

  private func list(_ found: [Violation]) -> String { violationList(found) }
}

/// One a line, so that a failure reads like a compiler's output.
func violationList(_ found: [Violation]) -> String {
  found.map { "\n  \($0)" }.joined()
}
