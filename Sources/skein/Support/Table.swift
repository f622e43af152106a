import SkeinCore

/// Rows of text under headings. Cells are escaped: what others named cannot drive the terminal.
struct Table {
  let headings: [String]
  var rows: [[String]] = []
  /// Columns of numbers stand to the right.
  let rightAligned: Set<Int>

  init(_ headings: [String], right: Set<Int> = []) {
    self.headings = headings
    rightAligned = right
  }

  mutating func add(_ cells: [String]) { rows.append(cells.map(\.displayable)) }

  var text: String {
    let all = [headings] + rows
    let widths = headings.indices.map { column in
      all.map { $0.indices.contains(column) ? $0[column].count : 0 }.max() ?? 0
    }
    return all.map { row in
      let cells = zip(row, widths).enumerated().map { column, pair in
        let padding = String(repeating: " ", count: max(0, pair.1 - pair.0.count))
        return rightAligned.contains(column) ? padding + pair.0 : pair.0 + padding
      }
      return trimmed(cells.joined(separator: "  "))
    }.joined(separator: "\n")
  }

  private func trimmed(_ line: String) -> String {
    var line = line
    while line.hasSuffix(" ") { line.removeLast() }
    return line
  }
}
