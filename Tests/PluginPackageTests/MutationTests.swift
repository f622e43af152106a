import Foundation
import PluginPackage
import SkeinCore
import Testing

/// Bytes from outside never trap: thousands of altered containers, manifests, files and schemas.
/// `SKEIN_FUZZ_ROUNDS` makes it longer; a failure names its seed.
@Suite struct MutationTests {
  static let rounds = ProcessInfo.processInfo.environment["SKEIN_FUZZ_ROUNDS"].flatMap { Int($0) } ?? 400

  private func each(_ bytes: [UInt8], _ body: ([UInt8]) throws -> Void) {
    for seed in 0..<UInt64(Self.rounds) {
      var random = Seeded(seed + 1)
      // Whatever is thrown is fine; not to come back is not.
      try? body(random.mutate(bytes))
    }
  }

  @Test func containers() throws {
    var sound = 0
    each(try Sample.package().encoded()) {
      _ = try PackageFile(parsing: SharedBytes($0))
      sound += 1
    }
    #expect(sound < Self.rounds)
  }

  @Test func manifests() throws {
    each(Array(ManifestTests.full.utf8)) { bytes in
      let manifest = try Manifest(parsing: bytes)
      // What is accepted goes round.
      #expect(try Manifest(parsing: manifest.encoded()) == manifest)
    }
  }

  @Test func schemasAndConfigurations() throws {
    let schema = try ConfigSchema(parsing: ConfigSchemaTests.schema)
    each(Array(ConfigSchemaTests.schema.utf8)) {
      _ = try ConfigSchema(parsing: String(decoding: $0, as: UTF8.self))
    }
    each(Array(#"{"virtual_nodes": 7, "ratio": 3, "pool": {"on": true}, "names": ["a"]}"#.utf8)) {
      try schema.check($0)
    }
  }

  /// The headers and the dynamic segment are a small part of the file: changes go there.
  @Test func sharedObjects() throws {
    let file = try Sample.file.get()
    let interesting = [0..<1_024, 1_024..<min(file.count, 5_000), max(0, file.count - 3_000)..<file.count]
    for seed in 0..<UInt64(Self.rounds * 10) {
      var random = Seeded(seed + 77)
      var altered = file
      let range = interesting[random.below(interesting.count)]
      for _ in 0...random.below(6) {
        let at = range.lowerBound + random.below(range.count)
        for i in at..<min(altered.count, at + 1 + random.below(8)) {
          altered[i] = [0, 0xff, 0x7f, 0x80, UInt8(truncatingIfNeeded: random.next())][random.below(5)]
        }
      }
      if random.below(10) == 0 { altered = Array(altered[..<random.below(altered.count)]) }
      _ = try? Sample.elf(altered)
    }
  }
}
