package import SkeinCore

/// One entry of the setting `offset-stores`: NAME=ID@VERSION:CONFIGFILE.
package struct OffsetStoreSetting: Sendable, Hashable {
  /// As operators and groups know it.
  package var name: String
  /// ID@VERSION
  package var plugin: String
  /// A file with the plug-in's configuration (JSON), mode 0600; empty: none.
  package var configFile: String

  package init(name: String, plugin: String, configFile: String) {
    self.name = name
    self.plugin = plugin
    self.configFile = configFile
  }

  /// Those that every broker has.
  package static let builtIn = ["log", "sqlite"]
  /// Entries of one broker.
  package static let most = 16

  /// What `offset-stores` says; entries are separated by commas.
  /// - Throws: `INVALID_REQUEST` naming the entry and what is wrong with it.
  package static func parse(_ text: String) throws(Fault) -> [OffsetStoreSetting] {
    var settings: [OffsetStoreSetting] = []
    for part in text.split(separator: ",") {
      let entry = String(part).trimmingSpaces
      if entry.isEmpty { continue }
      let setting = try one(entry)
      guard !settings.contains(where: { $0.name == setting.name }) else {
        throw invalid(entry, "the name \(setting.name) is there twice")
      }
      settings.append(setting)
    }
    guard settings.count <= most else {
      throw invalid("\(settings.count) entries", "at most \(most) are allowed")
    }
    return settings
  }

  private static func one(_ entry: String) throws(Fault) -> OffsetStoreSetting {
    guard let equals = entry.firstIndex(of: "=") else {
      throw invalid(entry, "it has no `=`; write NAME=ID@VERSION:CONFIGFILE")
    }
    let name = String(entry[..<equals]).trimmingSpaces
    let rest = entry[entry.index(after: equals)...]
    guard !name.isEmpty, name.utf8.count <= 64,
      name.utf8.allSatisfy({ ($0 >= 0x61 && $0 <= 0x7a) || ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x2d })
    else { throw invalid(entry, "a name has 1 to 64 lower-case letters, digits and `-`") }
    guard !builtIn.contains(name) else {
      throw invalid(entry, "\(name) is built in; choose another name")
    }
    guard let colon = rest.firstIndex(of: ":") else {
      return OffsetStoreSetting(name: name, plugin: String(rest).trimmingSpaces, configFile: "")
    }
    let file = String(rest[rest.index(after: colon)...]).trimmingSpaces
    guard file.hasPrefix("/") else {
      throw invalid(entry, "the configuration's file must be an absolute path")
    }
    return OffsetStoreSetting(name: name, plugin: String(rest[..<colon]).trimmingSpaces, configFile: file)
  }

  /// Which stores there are, for a setting that names one.
  /// - Throws: `OFFSET_STORE_NOT_FOUND`.
  package static func check(_ name: String, among settings: [OffsetStoreSetting]) throws(Fault) {
    let known = builtIn + settings.map(\.name)
    guard !known.contains(name) else { return }
    throw notFound(name, known)
  }

  static func notFound(_ name: String, _ known: [String]) -> Fault {
    Fault(
      .offsetStoreNotFound,
      "no offset store \"\(name.displayable)\"; there are: \(known.joined(separator: ", ")). Others are named by the setting offset-stores",
      metadata: ["store": name.displayable, "stores": known.joined(separator: ",")])
  }

  private static func invalid(_ entry: String, _ why: String) -> Fault {
    Fault(
      .invalidRequest, "offset-stores, `\(entry.displayable)`: \(why)",
      violations: [.init(field: "offset-stores", description: why)])
  }
}

extension String {
  fileprivate var trimmingSpaces: String {
    let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" }
    return String(drop(while: isSpace).reversed().drop(while: isSpace).reversed())
  }
}
