import CommitLog
import DiskIO
import Foundation
import PluginPackage
import SkeinCore

/// What survives a restart: which artifacts are not run any more, and which never again in the broker. One file each,
/// `quarantine/<sha256>.json`. Blocks: on the supervisor's thread, or while the broker starts.
struct Quarantine: Sendable {
  struct Entry: Sendable, Hashable {
    var sha256: String
    /// ID@VERSION.
    var plugin: String
    var why: String
    var atMilliseconds: Int64
    /// False after a release: only `isChildOnly` is left of it.
    var isQuarantined: Bool
    /// It crashed the broker once.
    var isChildOnly: Bool
  }

  /// Files that are read; more than any broker has plug-ins.
  static let entryLimit = 4_096

  private let folder: PrivateDirectory
  private let names: FileDisk

  init(run: PrivateDirectory) throws(Fault) {
    folder = try run.folder("quarantine")
    do {
      names = try FileDisk(root: folder.path)
    } catch {
      throw Fault(.invalidRequest, "the folder \(folder.path) cannot be read: \(error); check its owner")
    }
  }

  /// Every entry that can be read, and the names of files that cannot.
  func read() throws(Fault) -> (entries: [Entry], broken: [String]) {
    let found: [String]
    do {
      found = try names.list("").map(\.name).filter { $0.hasSuffix(".json") }
    } catch {
      throw Fault(.invalidRequest, "the folder \(folder.path) cannot be read: \(error); check its owner")
    }
    var entries: [Entry] = []
    var broken: [String] = []
    for name in found.prefix(Self.entryLimit) {
      guard let bytes = try? folder.read(name), let entry = Self.decode(bytes), name == entry.sha256 + ".json"
      else {
        broken.append(name)
        continue
      }
      entries.append(entry)
    }
    return (entries, broken)
  }

  func write(_ entry: Entry) throws(Fault) {
    guard Self.isHash(entry.sha256) else { return }
    try folder.write(Self.encode(entry), to: entry.sha256 + ".json")
  }

  func remove(_ sha256: String) {
    guard Self.isHash(sha256) else { return }
    do {
      try names.remove(sha256 + ".json")
      try names.syncDirectory("")
    } catch {
      // It was not there, or comes back with the next start: then it is released again.
      return
    }
  }

  static func isHash(_ text: String) -> Bool {
    text.utf8.count == 64 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
  }

  static func encode(_ entry: Entry) -> [UInt8] {
    let object: [String: Any] = [
      "sha256": entry.sha256, "plugin": entry.plugin, "why": entry.why, "at_ms": entry.atMilliseconds,
      "quarantined": entry.isQuarantined, "child_only": entry.isChildOnly,
    ]
    let data = try? JSONSerialization.data(
      withJSONObject: object, options: [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes])
    return Array(data ?? Data())
  }

  static func decode(_ bytes: [UInt8]) -> Entry? {
    guard let object = try? JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any],
      let sha256 = object["sha256"] as? String, isHash(sha256), let plugin = object["plugin"] as? String,
      let why = object["why"] as? String, let at = object["at_ms"] as? NSNumber,
      let quarantined = object["quarantined"] as? Bool, let childOnly = object["child_only"] as? Bool
    else { return nil }
    return Entry(
      sha256: sha256, plugin: plugin, why: why, atMilliseconds: at.int64Value, isQuarantined: quarantined,
      isChildOnly: childOnly)
  }
}
