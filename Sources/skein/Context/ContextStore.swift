import Foundation
import SkeinCore

/// Named contexts in the user's configuration folder: `contexts/NAME.yaml`, and `current` with a name.
struct ContextStore {
  let folder: URL

  /// `$XDG_CONFIG_HOME/skein`, else `~/.config/skein`.
  init(environment: [String: String] = ProcessInfo.processInfo.environment) {
    let base =
      environment["XDG_CONFIG_HOME"].flatMap { $0.isEmpty ? nil : URL(fileURLWithPath: $0) }
      ?? URL(fileURLWithPath: environment["HOME"] ?? "/").appendingPathComponent(".config")
    folder = base.appendingPathComponent("skein")
  }

  private var contexts: URL { folder.appendingPathComponent("contexts") }

  func path(_ name: String) throws -> String {
    if let problem = TopicName.problem(name) {
      throw UsageError("a context's name \(problem): \(name.displayable)")
    }
    return contexts.appendingPathComponent(name + ".yaml").path
  }

  var names: [String] {
    let files = (try? FileManager.default.contentsOfDirectory(atPath: contexts.path)) ?? []
    return files.filter { $0.hasSuffix(".yaml") }.map { String($0.dropLast(5)) }.sorted()
  }

  var current: String? {
    let data = FileManager.default.contents(atPath: folder.appendingPathComponent("current").path)
    let name = data.map { String(decoding: $0, as: UTF8.self) }?
      .trimmingCharacters(in: .whitespacesAndNewlines)
    return name?.isEmpty == true ? nil : name
  }

  func save(_ name: String, _ context: ContextFile) throws {
    try write(try context.encoded(), to: URL(fileURLWithPath: try path(name)))
  }

  func use(_ name: String) throws {
    try mustKnow(name)
    try write(name + "\n", to: folder.appendingPathComponent("current"))
  }

  /// Forgets a context; if it was the chosen one, none is chosen afterwards.
  func delete(_ name: String) throws {
    try mustKnow(name)
    do {
      try FileManager.default.removeItem(atPath: path(name))
      if current == name { try FileManager.default.removeItem(at: folder.appendingPathComponent("current")) }
    } catch {
      throw LocalFailure("cannot delete the context \(name.displayable): \(error.localizedDescription)")
    }
  }

  private func mustKnow(_ name: String) throws {
    guard !names.contains(name) else { return }
    let known = names.isEmpty ? "none are known" : "known are \(names.joined(separator: ", "))"
    throw UsageError(
      "no context \(name.displayable)\(NearestWord.hint(for: name, in: names)); \(known). Add one with `skein context set`."
    )
  }

  private func write(_ text: String, to file: URL) throws {
    do {
      try FileManager.default.createDirectory(
        at: contexts, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      try Data(text.utf8).write(to: file, options: .atomic)
    } catch {
      throw LocalFailure("cannot write \(file.path.displayable): \(error.localizedDescription)")
    }
  }

  /// Name or file of the context in force: an option, else the environment, else the chosen one.
  func given(
    _ option: String?, environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> String? {
    option ?? environment["SKEIN_CONTEXT"].flatMap { $0.isEmpty ? nil : $0 } ?? current
  }

  /// The context in force.
  func resolve(_ option: String?) throws -> ContextFile {
    guard let given = given(option) else {
      throw UsageError(
        "no context is chosen; give --context FILE (skeind --dev DIR writes DIR/context.yaml), set SKEIN_CONTEXT, or run `skein context set` and `skein context use`"
      )
    }
    // A name is a name only if it is known; everything else is a file.
    if !given.contains("/"), names.contains(given) { return try ContextFile.load(path(given)) }
    if !given.contains("/"), !FileManager.default.fileExists(atPath: given) {
      let known = names.isEmpty ? "no names are known" : "known names are \(names.joined(separator: ", "))"
      throw UsageError(
        "no context and no file \(given.displayable)\(NearestWord.hint(for: given, in: names)); \(known)")
    }
    return try ContextFile.load(given)
  }
}
