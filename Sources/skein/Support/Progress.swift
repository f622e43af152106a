import Glibc

/// One line on stderr that is written over: only when stderr is a terminal, twice a second at most.
struct Progress {
  private static let interval: Int64 = 500_000_000
  private let isShown: Bool
  private let total: Int?
  private let unit: String
  private let start = monotonicNow()
  private var next: Int64
  private var hasLine = false

  /// - Parameters:
  ///   - total: how many there will be, if that is known.
  ///   - isShown: false keeps it silent even on a terminal.
  init(total: Int?, unit: String = "records", isShown: Bool = true) {
    self.total = total
    self.unit = unit
    self.isShown = isShown && Console.isErrorTerminal
    next = start + Self.interval
  }

  /// Cheap enough for every thousandth record.
  mutating func update(_ count: Int) {
    guard isShown else { return }
    let now = monotonicNow()
    guard now >= next else { return }
    next = now + Self.interval
    let rate = Double(count) / (Double(now - start) / 1e9)
    let part =
      total.map { "\(count.multipliedReportingOverflow(by: 100).partialValue / max($0, 1)) % of \($0)" }
      ?? "\(count)"
    show("\r\(part) \(unit), \(Int(rate))/s   ")
    hasLine = true
  }

  /// Ends the line.
  mutating func finish() {
    if hasLine { show("\n") }
    hasLine = false
  }

  private func show(_ text: String) { try? Console.write(Array(text.utf8), to: STDERR_FILENO) }
}
