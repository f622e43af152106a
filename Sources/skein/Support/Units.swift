import Foundation

/// Numbers for people.
enum Units {
  /// 1536 as `1.5 KiB`.
  static func bytes(_ count: Int64) -> String {
    scaled(Double(count), 1024, ["B", "KiB", "MiB", "GiB", "TiB"])
  }

  static func bytesPerSecond(_ rate: Double) -> String { bytes(Int64(rate.rounded())) + "/s" }

  /// 12345.6 as `12.3k/s`.
  static func perSecond(_ rate: Double) -> String {
    scaled(rate, 1000, ["", "k", "M", "G"]).replacing(" ", with: "") + "/s"
  }

  /// Milliseconds since 1970 as ISO 8601 in UTC.
  static func time(_ milliseconds: Int64) -> String {
    let formatter = ISO8601DateFormatter()
    formatter.formatOptions.insert(.withFractionalSeconds)
    return formatter.string(from: Date(timeIntervalSince1970: Double(milliseconds) / 1000))
  }

  /// Seconds as `3d4h`, `2h5m`, `12s`.
  static func duration(seconds: Int64) -> String {
    let (sign, s) = (seconds < 0 ? "-" : "", seconds.magnitude)
    if s >= 86_400 { return "\(sign)\(s / 86_400)d\(s % 86_400 / 3600)h" }
    if s >= 3600 { return "\(sign)\(s / 3600)h\(s % 3600 / 60)m" }
    if s >= 60 { return "\(sign)\(s / 60)m\(s % 60)s" }
    return "\(sign)\(s)s"
  }

  /// `500ms`, `30s`, `5m`, `1h`, `90d`, or seconds without a unit; nil for anything else.
  static func parseDuration(_ text: String) -> Duration? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard let number = Int64(digits), number <= 1_000_000_000 else { return nil }
    switch text.dropFirst(digits.count) {
    case "ms": return .milliseconds(number)
    case "", "s": return .seconds(number)
    case "m": return .seconds(number * 60)
    case "h": return .seconds(number * 3600)
    case "d" where number <= 100_000: return .seconds(number * 86_400)
    default: return nil
    }
  }

  private static func scaled(_ value: Double, _ base: Double, _ units: [String]) -> String {
    var (value, unit) = (value, 0)
    while value.magnitude >= base, unit < units.count - 1 {
      value /= base
      unit += 1
    }
    let digits = unit == 0 || value.magnitude >= 100 ? 0 : 1
    let number = String(format: "%.\(digits)f", value)
    return units[unit].isEmpty ? number : "\(number) \(units[unit])"
  }
}
