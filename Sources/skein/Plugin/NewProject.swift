import Foundation
import PluginPackage
import SkeinCore

/// A plug-in to begin with: which files it has, and what stands in them.
struct NewProject {
  let name: String
  let kind: PluginKind
  let language: NewLanguage
  let id: String

  /// - Throws: `UsageError` for a name or an id that cannot be used.
  init(name: String, kind: PluginKind, language: NewLanguage, id: String) throws {
    let letters = name.utf8.allSatisfy { byte in
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "-")
    }
    let begins = name.utf8.first.map { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) } ?? false
    guard letters, begins, name.utf8.count <= 40, !name.hasSuffix("-") else {
      throw UsageError(
        "NAME is \(name.displayable): give 1 to 40 of a-z 0-9 -, beginning with a letter, not ending with -")
    }
    do throws(Fault) {
      _ = try PluginReference(parsing: "\(id)@1.0.0")
    } catch {
      throw UsageError("--id \(id.displayable): \(error.message)")
    }
    self.name = name
    self.kind = kind
    self.language = language
    self.id = id
  }

  /// The type's name: `my-hash` → `MyHash`.
  var typeName: String {
    name.split(separator: "-").map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
  }

  /// The file that its author changes.
  var source: String {
    switch language {
    case .swift: "Sources/\(typeName)/\(typeName).swift"
    case .c: "\(name).c"
    }
  }

  /// Whether its calls are asynchronous, and so carry protobuf messages.
  private var hasCalls: Bool { kind != .partitioner }

  /// Path in the new folder, path in Skein's sources.
  private var layout: [(String, String)] {
    let templates = "Plugins/Templates/"
    let ofKind = templates + kind.word + "/"
    let ofLanguage = templates + language.rawValue + "/"
    let suffix = hasCalls ? "-calls" : ""
    var files = [
      ("README.md", templates + "README.md"), ("manifest.json", ofKind + "manifest.json"),
      (".gitignore", ofLanguage + "gitignore"),
    ]
    switch language {
    case .c:
      files += [
        (source, ofKind + "plugin.c"), ("test.c", ofKind + "test.c"),
        ("build.sh", ofLanguage + "build\(suffix).sh"), ("test.sh", ofLanguage + "test\(suffix).sh"),
        ("include/skein_plugin.h", "Sources/CSkeinPlugin/include/skein_plugin.h"),
      ]
      if hasCalls { files += folder("Sources/CSkeinPluginProto/", at: "proto/") }
    case .swift:
      files += [
        ("Package.swift", ofLanguage + "Package\(suffix).swift.txt"),
        (source, ofKind + "Plugin.swift.txt"),
        ("Tests/\(typeName)Tests/\(typeName)Tests.swift", ofKind + "Tests.swift.txt"),
        ("build.sh", ofLanguage + "build.sh"), ("test.sh", ofLanguage + "test.sh"),
        ("Kit/exports.map", "Plugins/Kit/exports.map"),
      ]
      files += folder("Sources/CSkeinPlugin/", at: "Kit/CSkeinPlugin/")
      files += folder("Sources/SkeinPluginKit/", at: "Kit/SkeinPluginKit/").filter { file in
        hasCalls || !file.0.hasPrefix("Kit/SkeinPluginKit/Calls/")
      }
      if hasCalls {
        files += folder("Sources/CSkeinPluginProto/", at: "Kit/CSkeinPluginProto/")
        files += [
          ("Kit/CProtobufC/module.modulemap", ofLanguage + "protobuf-c.modulemap"),
          ("Kit/CProtobufC/shim.h", "Sources/CProtobufC/shim.h"),
        ]
      }
    }
    return files
  }

  private func folder(_ prefix: String, at place: String) -> [(String, String)] {
    PluginSources.paths.filter { $0.hasPrefix(prefix) }.map {
      (place + $0.dropFirst(prefix.count), $0)
    }
  }

  /// What stands in a file.
  private func text(_ path: String) throws -> String {
    guard var text = PluginSources.text(path) else {
      throw LocalFailure("this program lacks \(path); build it again")
    }
    guard path.hasPrefix("Plugins/Templates/") else { return text }
    let notes = PluginSources.text("Plugins/Templates/\(kind.word)/notes.md") ?? ""
    let words = [
      "NAME": name, "ID": id, "TYPE": typeName, "KIND": kind.word.replacingOccurrences(of: "-", with: " "),
      "LANGUAGE": language == .c ? "C" : "Swift", "RUNTIME": language == .c ? "c" : "swift-static",
      "SOURCE": source, "PUBLISHER": "the author of \(name)",
      "NOTES": notes.trimmingCharacters(in: .newlines),
    ]
    for (word, value) in words { text = text.replacingOccurrences(of: "{{\(word)}}", with: value) }
    return text
  }

  /// Writes everything; the paths that it wrote.
  /// - Throws: `UsageError` when the folder has something in it: nothing is ever overwritten.
  func write(to folder: URL) throws -> [String] {
    let manager = FileManager.default
    if let found = try? manager.contentsOfDirectory(atPath: folder.path), !found.isEmpty {
      throw UsageError(
        "\(folder.path.displayable) is not empty: give another folder with --dir, or remove what is there")
    }
    let files = try layout.map { (path: $0.0, text: try text($0.1)) }
    do {
      for file in files {
        let url = folder.appendingPathComponent(file.path)
        try manager.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(file.text.utf8).write(to: url)
        if file.path.hasSuffix(".sh") {
          try manager.setAttributes([.posixPermissions: 0o755], ofItemAtPath: url.path)
        }
      }
    } catch {
      throw LocalFailure("\(folder.path.displayable) could not be written: \(error.localizedDescription)")
    }
    return files.map(\.path)
  }
}
