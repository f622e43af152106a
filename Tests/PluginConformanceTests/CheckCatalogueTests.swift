import Foundation
import PluginConformance
import Testing

/// What authors rely on: names, order, and that every check is shown something bad.
@Suite struct CheckCatalogueTests {
  @Test func namesAreDifferentAndWellFormed() {
    let names = CheckCatalogue.all.map(\.name)
    #expect(Set(names).count == names.count)
    for name in names {
      #expect(name.wholeMatch(of: #/[a-z]+\.[a-z]+(-[a-z]+)*/#) != nil, "\(name)")
    }
  }

  @Test func aCheckComesAfterThoseThatItNeeds() {
    var seen: Set<String> = []
    for check in CheckCatalogue.all {
      #expect(seen.isSuperset(of: check.after), "\(check.name)")
      seen.insert(check.name)
    }
  }

  /// Nothing in the kit is believed that was not seen to fail: each check has a bad plug-in, but for these.
  @Test func everyCheckHasABadPlugIn() throws {
    let unproven: Set<String> = [
      // A figure, no promise.
      "partitioner.skew"
    ]
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("plugins/bad")
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
    let broken = try files.filter { $0.pathExtension == "c" }.compactMap { file in
      try String(contentsOf: file, encoding: .utf8).firstMatch(of: #/Breaks: ([a-z.-]+?)\. /#).map {
        String($0.1)
      }
    }
    let names = Set(CheckCatalogue.all.map(\.name))
    #expect(names.isSuperset(of: broken))
    #expect(names.subtracting(broken) == unproven)
  }
}
