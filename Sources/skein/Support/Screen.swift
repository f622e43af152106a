import Glibc

/// One picture on a terminal, drawn over itself. Nothing is hidden or switched, so a program that is killed leaves the
/// terminal as it was, with the last picture on it.
struct Screen {
  private var isCleared = false

  /// What does not fit is left out, and the last line says how much.
  mutating func draw(_ text: String) throws {
    let (rows, columns) = Self.size
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { $0.prefix(columns) }
    if lines.count > rows - 1 {
      let hidden = lines.count - (rows - 2)
      lines = lines.prefix(rows - 2) + ["... and \(hidden) lines more"]
    }
    let head = isCleared ? "\u{1b}[H" : "\u{1b}[2J\u{1b}[H"
    isCleared = true
    let picture = head + lines.map { $0 + "\u{1b}[K\n" }.joined() + "\u{1b}[J"
    try Console.write(Array(picture.utf8), to: STDOUT_FILENO)
  }

  /// At least a few lines, whatever the terminal says of itself.
  private static var size: (rows: Int, columns: Int) {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0, size.ws_col > 0 else {
      return (24, 80)
    }
    return (max(4, Int(size.ws_row)), max(20, Int(size.ws_col)))
  }
}
