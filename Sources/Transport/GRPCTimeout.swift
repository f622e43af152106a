/// The `grpc-timeout` header: 1 to 8 digits and a unit of `H M S m u n`.
enum GRPCTimeout {
  /// Nanoseconds, or nil when it is malformed. The largest value, 99,999,999 hours, is capped to
  /// about 292 years (`Int64.max`).
  static func decode(_ bytes: some Collection<UInt8>) -> Int64? {
    guard (2...9).contains(bytes.count) else { return nil }
    var value: Int64 = 0
    var unit: UInt8 = 0
    for (index, byte) in bytes.enumerated() {
      if index == bytes.count - 1 {
        unit = byte
      } else {
        guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
        value = value * 10 + Int64(byte - UInt8(ascii: "0"))
      }
    }
    guard let scale = units.first(where: { $0.unit == unit })?.nanoseconds else { return nil }
    let (product, overflow) = value.multipliedReportingOverflow(by: scale)
    return overflow ? .max : product
  }

  /// The finest unit in which the value has at most 8 digits, rounded up so that a deadline is never
  /// announced as earlier than it is.
  static func encode(nanoseconds: Int64) -> [UInt8] {
    let value = max(nanoseconds, 0)
    for (unit, scale) in units {
      let scaled = value / scale + (value % scale == 0 ? 0 : 1)
      if scaled <= 99_999_999 { return Array(String(scaled).utf8) + [unit] }
    }
    return Array("99999999H".utf8)
  }

  private static let units: [(unit: UInt8, nanoseconds: Int64)] = [
    (UInt8(ascii: "n"), 1), (UInt8(ascii: "u"), 1000), (UInt8(ascii: "m"), 1_000_000),
    (UInt8(ascii: "S"), 1_000_000_000), (UInt8(ascii: "M"), 60_000_000_000),
    (UInt8(ascii: "H"), 3_600_000_000_000),
  ]
}
