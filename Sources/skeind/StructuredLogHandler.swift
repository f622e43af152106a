import Foundation
import Logging
import SkeinCore

/// One line of logfmt per event on stderr: `ts=… level=… logger=… msg="…" key="…"`. Values are
/// escaped, so that nothing a client sent can forge a line.
struct StructuredLogHandler: LogHandler {
  let label: String
  var logLevel: Logger.Level
  var metadata: Logger.Metadata = [:]

  init(label: String, level: Logger.Level) {
    self.label = label
    self.logLevel = level
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    var line =
      "ts=\(Self.timestamp()) level=\(event.level) logger=\(label) msg=\(Self.quote("\(event.message)"))"
    let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
    for (key, value) in all.sorted(by: { $0.key < $1.key }) {
      line += " \(key)=\(Self.quote("\(value)"))"
    }
    FileHandle.standardError.write(Data((line + "\n").utf8))
  }

  private static func quote(_ text: String) -> String {
    "\""
      + text.displayable.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(
        of: "\"", with: "\\\"")
      + "\""
  }

  /// ISO 8601 with milliseconds, UTC.
  private static func timestamp() -> String {
    Date().formatted(
      .iso8601.year().month().day().dateTimeSeparator(.standard).time(includingFractionalSeconds: true))
  }
}
