import DiskIO
import Foundation
import MetadataStore
import PluginPackage
import PluginRegistry
import SkeinCore
import Testing

/// Somebody changes the broker's store on the real disk: every load reads and checks again.
@Suite struct AlteredStoreTests {
  @Test(arguments: [
    "one byte", "another file", "longer", "link", "linked folder", "manifest", "gone", "no signature",
    "folder gone",
  ]) func isRefusedAtTheNextLoad(what: String) async throws {
    let root = try Sample.temporaryFolder()
    let outside = try Sample.temporaryFolder()
    defer {
      try? FileManager.default.removeItem(at: root)
      try? FileManager.default.removeItem(at: outside)
    }
    let fixture = try await Fixture.trusting(try FileDisk(root: root.path))
    try await fixture.install(try Sample.package("1.0.0"))
    let entry = try await fixture.registry.entry(try PluginReference(parsing: "com.acme.sticky@1.0.0"))
    let folder = root.appendingPathComponent("store/sha256-\(entry.sha256)")
    let file = folder.appendingPathComponent("plugin.so")
    let sound = try Data(contentsOf: file)
    let manifest = folder.appendingPathComponent("manifest.json")
    switch what {
    case "one byte":
      var bytes = sound
      bytes[bytes.count / 2] ^= 1
      try bytes.write(to: file)
    case "another file": try Data("#!/bin/sh".utf8).write(to: file)
    case "longer": try (sound + [0]).write(to: file)
    case "link":
      // Even to the very same bytes: what is behind a link can change after the check.
      let copy = outside.appendingPathComponent("copy.so")
      try sound.write(to: copy)
      try FileManager.default.removeItem(at: file)
      try FileManager.default.createSymbolicLink(at: file, withDestinationURL: copy)
    case "linked folder":
      let moved = outside.appendingPathComponent("moved")
      try FileManager.default.moveItem(at: folder, to: moved)
      try FileManager.default.createSymbolicLink(at: folder, withDestinationURL: moved)
    case "manifest":
      var bytes = try Data(contentsOf: manifest)
      bytes.append(0x20)
      try bytes.write(to: manifest)
    case "no signature":
      try FileManager.default.removeItem(at: folder.appendingPathComponent("manifest.sig"))
    case "folder gone": try FileManager.default.removeItem(at: folder)
    default: try FileManager.default.removeItem(at: file)
    }
    do {
      _ = try await fixture.registry.artifact(entry.reference)
      Issue.record("\(what): it was loaded")
    } catch {
      #expect(error.reason == .pluginRefused && error.metadata["check"] == "hash", "\(error)")
      #expect(error.message.contains("install the same package again"), "\(error)")
    }
    // The cure that the message names.
    #expect(try await fixture.install(try Sample.package("1.0.0")).wasThere)
    _ = try await fixture.registry.artifact(entry.reference)
    await fixture.store.close()
  }
}
