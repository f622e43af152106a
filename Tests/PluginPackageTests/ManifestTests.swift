import Foundation
import PluginPackage
import SkeinCore
import Testing

@Suite struct ManifestTests {
  static let full = """
    {"schema": 1, "id": "com.acme.sticky", "version": "1.2.0-rc.1", "kinds": ["skein.partitioner/1"],
     "abi": {"major": 1, "minor": 0}, "requires": ["skein.host.log/1"],
     "config_schema": {"type": "object", "properties": {"salt": {"type": "string", "maxLength": 8}}},
     "artifacts": [{"os": "linux", "arch": "amd64", "libc_min": "2.31", "size": 4096,
       "sha256": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}],
     "runtime": "c", "pure": true, "headers": ["tenant"], "timestamps": false,
     "needs": {"network": false, "paths": ["/etc/acme"], "memory_mb": 32},
     "publisher": "Acme", "built_from": "https://acme.example/sticky@1"}
    """

  @Test func goesRound() throws {
    let manifest = try Manifest(parsing: Array(Self.full.utf8))
    #expect(manifest.reference.description == "com.acme.sticky@1.2.0-rc.1")
    #expect(manifest.paths == ["/etc/acme"] && manifest.memoryMegabytes == 32 && manifest.isPure)
    #expect(try Manifest(parsing: manifest.encoded()) == manifest)
  }

  /// One change each, and the field that must be named.
  @Test(arguments: [
    (#""schema": 1"#, #""schema": 2"#, "schema"), (#""com.acme.sticky""#, #""sticky""#, "id"),
    (#""1.2.0-rc.1""#, #""1.2""#, "version"), (#""1.2.0-rc.1""#, #""01.2.0""#, "version"),
    (#"["skein.partitioner/1"]"#, #"["skein.partitioner/2"]"#, "kinds"),
    (#"["skein.partitioner/1"]"#, "[]", "kinds"),
    (#""major": 1"#, #""major": 0"#, "abi.major"), (#""major": 1"#, #""major": true"#, "abi.major"),
    (#""pure": true"#, #""pure": 1"#, "pure"), (#""pure": true"#, #""pur": true"#, "pur"),
    (#""size": 4096"#, #""size": 0"#, "artifacts[0].size"),
    (#""size": 4096"#, #""size": 4096.5"#, "artifacts[0].size"),
    (#""size": 4096"#, #""size": 99999999999999999999"#, "artifacts[0].size"),
    (#""0123456789abcdef0"#, #""X123456789abcdef0"#, "artifacts[0].sha256"),
    (#""2.31""#, #""new""#, "artifacts[0].libc_min"), (#""linux""#, #""../linux""#, "artifacts[0].os"),
    (#""c", "pure""#, #""python", "pure""#, "runtime"), (#""/etc/acme""#, #""etc""#, "needs.paths[0]"),
    (#""/etc/acme""#, #""/etc/../root""#, "needs.paths[0]"),
    (#""memory_mb": 32"#, #""memory_mb": 8"#, "needs.memory_mb"),
    (#""publisher": "Acme""#, #""publisher": "\u001b[31m""#, "publisher"),
    (#""maxLength""#, #""maxLenth""#, "config_schema.properties.salt.maxLenth"),
    (#"["tenant"]"#, #"["tenant", "tenant"]"#, "headers[1]"),
    (#""requires": ["skein.host.log/1"],"#, #""requires": "log","#, "requires"),
  ]) func eachProblemNamesItsField(from: String, to: String, field: String) throws {
    let text = Self.full.replacing(from, with: to)
    #expect(text != Self.full)
    let fault = try #require(throws: Fault.self) { _ = try Manifest(parsing: Array(text.utf8)) }
    #expect(fault.reason == .pluginRefused && fault.metadata["check"] == "manifest")
    #expect(fault.violations.map(\.field) == [field], "\(fault)")
    #expect(fault.message.contains(field) && fault.metadata["file"] == "manifest.json")
  }

  @Test(arguments: [
    "", "{", "[]", "null", "{\"schema\": 1,}", "{\"schema\": 1, \"schema\": 1}", "{\"sch\\u0065ma\": 1}",
    String(repeating: "[", count: 100), "{\"a\": \"\u{0}\"}", "\u{feff}{}",
  ]) func otherTextsAreRefused(text: String) {
    #expect(throws: Fault.self) { _ = try Manifest(parsing: Array(text.utf8)) }
  }

  @Test func allProblemsAtOnce() throws {
    let fault = try #require(throws: Fault.self) { _ = try Manifest(parsing: Array("{}".utf8)) }
    #expect(
      Set(fault.violations.map(\.field)).isSuperset(of: [
        "schema", "id", "version", "kinds", "abi", "artifacts", "runtime", "publisher",
      ]))
  }

  @Test(arguments: [
    "a@b", "com.acme@1", "com..acme@1.0.0", "-a.b@1.0.0", "com.acme.x@1.0.0@2", "COM.acme@1.0.0",
    "com.acme@1.0.0-", "com.acme@1.0.0-a/b", "com.acme",
  ])
  func badReferences(text: String) throws {
    let fault = try #require(throws: Fault.self) { _ = try PluginReference(parsing: text) }
    #expect(fault.reason == .invalidRequest && !fault.violations.isEmpty)
  }
}
