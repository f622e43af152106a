import CSkeinPlugin
import CSkeinShims
import Glibc
import PluginPackage

/// What a plug-in does to the process that it is a guest of.
enum ProcessChecks {
  static let all: [Check] = [
    Check(
      "process.children", "It starts no process.", after: ["calls.basic"]
    ) { context in
      try exercise(context)
      let found = skein_conformance_reap_all()
      guard found == 0 else {
        throw Broken(
          "the plug-in started \(found) process(es)",
          cure: "do without fork, system and popen: a broker has threads",
          measured: ["children": Double(found)])
      }
      return .passed()
    },
    Check(
      "process.state",
      "Signal handlers, signal mask, umask, working folder and environment stay as they were.",
      after: ["calls.basic"], state),
    Check(
      "process.output", "It writes nothing to stdout and stderr, and less than a log line a call.",
      after: ["calls.basic"],
      compare: { observations in
        let bytes = observations.map(\.outputBytes).max() ?? 0
        guard bytes <= maximumOutput else {
          return .failed(
            "the plug-in wrote \(bytes) bytes to stdout or stderr", cure: "write to the host's log",
            measured: ["output_bytes": Double(bytes)])
        }
        var finding = observations.last?.finding ?? .passed()
        finding.measured["output_bytes"] = Double(bytes)
        return finding
      }, output),
  ]

  /// Bytes on stdout and stderr that are forgiven: a runtime's warning.
  static let maximumOutput = 4_096

  /// Load, create, some calls, destroy; also the threads that a plug-in may have get time to begin.
  @discardableResult
  static func exercise(_ context: CheckContext, calls: Int = 50) throws -> PluginUnderTest {
    let plugin = try context.load()
    for kind in context.kinds {
      let instance = try context.create(plugin, kind)
      try Exercise.calls(calls, instance, kind, context)
      instance.destroy(doing: context.doing)
    }
    return plugin
  }

  private static func state(_ context: CheckContext) throws -> Finding {
    var before = skein_conformance_state()
    skein_conformance_read_state(&before)
    try exercise(context)
    var after = skein_conformance_state()
    skein_conformance_read_state(&after)
    var changed: [String] = []
    if before.handlers != after.handlers { changed.append("signal handlers") }
    if before.mask != after.mask { changed.append("the signal mask") }
    if before.umask != after.umask { changed.append("the umask") }
    if before.folder != after.folder { changed.append("the working folder") }
    if before.environment != after.environment { changed.append("the environment") }
    guard changed.isEmpty else {
      throw Broken(
        "the plug-in changed \(changed.joined(separator: " and ")) of the process",
        cure: "leave to the process what belongs to all of it")
    }
    return .passed()
  }

  private static func output(_ context: CheckContext) throws -> Finding {
    let calls = 200
    let plugin = try exercise(context, calls: calls)
    let lines = plugin.host.lineCount
    guard lines < calls, plugin.host.lineBytes <= calls * 1_024 else {
      throw Broken(
        "the plug-in wrote \(lines) lines, \(plugin.host.lineBytes) bytes, to the log in \(calls) calls",
        cure: "log what an operator acts on, not every call", measured: ["log_lines": Double(lines)])
    }
    guard plugin.host.badLines == 0 else {
      throw Broken(
        "\(plugin.host.badLines) log line(s) have a level that does not exist", cure: "use SKEIN_LOG_*")
    }
    return .passed(["log_lines": Double(lines)])
  }
}
