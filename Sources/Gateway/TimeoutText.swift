import SkeinCore

/// A timeout as people write it: `500ms`, `5s`, `2m`.
enum TimeoutText {
  /// Nanoseconds.
  /// - Throws: `PARAMETER_INVALID`.
  static func parse(_ text: String, limits: JSONLimits) throws(Fault) -> Int64 {
    let units: [(String, Int64)] = [("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000)]
    for (unit, scale) in units where text.hasSuffix(unit) {
      let digits = text.dropLast(unit.count)
      guard (1...7).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
        let value = Int64(digits)
      else { break }
      let nanoseconds = value * scale
      guard nanoseconds > 0, nanoseconds <= limits.maxTimeoutSeconds * 1_000_000_000 else { break }
      return nanoseconds
    }
    throw Fault(
      .parameterInvalid,
      "timeout \"\(text.displayable)\" is not a time: write 1ms to \(limits.maxTimeoutSeconds)s, for example 500ms, 5s or 2m",
      violations: [.init(field: "timeout", description: "1ms to \(limits.maxTimeoutSeconds)s")])
  }
}
