import Foundation
import SkeinClient
import SkeinCore

/// Places in a topic, as people write them.
enum StartPlace {
  static func parse(_ text: String) throws -> ReadStart {
    switch text {
    case "beginning", "start", "earliest": return .beginning
    case "end", "latest": return .end
    default: break
    }
    if let offset = Int64(text), offset >= 0 { return .offset(offset) }
    if let time = time(text) { return .timestamp(time) }
    let hint = NearestWord.hint(for: text, in: ["beginning", "end"])
    throw UsageError(
      "--from \(text.displayable): give beginning, end, an offset, a time like 2026-11-23T00:00:00Z, @MILLISECONDS since 1970, or an age like -15m\(hint)"
    )
  }

  /// `2026-11-23T00:00:00Z`, `@1795392000000`, or `-15m` (s, m, h, d ago), in milliseconds since 1970; nil
  /// if it is none of them.
  static func time(_ text: String) -> Int64? {
    if text.hasPrefix("@") { return Int64(text.dropFirst()).flatMap { $0 >= 0 ? $0 : nil } }
    if text.hasPrefix("-") { return age(text.dropFirst()) }
    let plain = ISO8601DateFormatter()
    let fractions = ISO8601DateFormatter()
    fractions.formatOptions.insert(.withFractionalSeconds)
    return (plain.date(from: text) ?? fractions.date(from: text)).map {
      Int64(($0.timeIntervalSince1970 * 1000).rounded())
    }
  }

  /// So long ago; at most 1,000,000 of its unit, so that nothing overflows.
  private static func age(_ text: Substring) -> Int64? {
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
    guard let unit = text.last.flatMap({ units[$0] }), let count = Int64(text.dropLast()),
      (0...1_000_000).contains(count)
    else { return nil }
    return max(0, Int64(Date().timeIntervalSince1970 * 1000) - count * unit * 1000)
  }
}
