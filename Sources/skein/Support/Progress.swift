import Glibc

/// One line on stderr that is written over: only when stderr is a terminal, twice a second at most.
struct Progress {
  private static let interval: Int64 = 500_000_000
  private let isShown = Console.isErrorTerminal
  private let total: Int?
  private let start = monotonicNow()
  private var next: Int64
  private var hasLine = false

  /// - Parameter total: how many records there will be, if that is known.
  init(total: Int?) {
    self.total = total
    next = start + Self.interval
  }

  /// Cheap enough for every thousandth record.
  mutating func update(_ count: Int) {
    guard isShown else { return }
    let now = monotonicNow()
    guard now >= next else { return }
    next = now + Self.interval
    let rate = Double(count) / (Double(now - start) / 1e9)
    let part = total.map { "\(count * 100 / max($0, 1)) % of \($0)" } ?? "\(count)"
    show("\r\(part) records, \(Int(rate))/s   ")
    hasLine = true
  }

  /// Ends the line.
  mutating func finish() {
    if hasLine { show("\n") }
    hasLine = false
  }

  private func show(_ text: String) { try? Console.write(Array(text.utf8), to: STDERR_FILENO) }
}
