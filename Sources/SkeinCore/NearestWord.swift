/// The word that was probably meant.
package enum NearestWord {
  /// The known word with the fewest edits, if they are few for its length; nil when nothing is near.
  package static func find(_ word: String, in known: some Sequence<String>) -> String? {
    let word = Array(word.lowercased().unicodeScalars.prefix(64))
    var best: (word: String, distance: Int)?
    for candidate in known {
      let scalars = Array(candidate.lowercased().unicodeScalars.prefix(64))
      // One edit for a short word, a third of a long one.
      let limit = max(1, max(word.count, scalars.count) / 3)
      var distance = edits(word, scalars)
      // What was begun and not finished is near too: `part` for `partitions`.
      if distance > limit, word.count >= 3, scalars.starts(with: word) { distance = limit }
      if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    return best?.word
  }

  /// `; did you mean X?`, or nothing.
  package static func hint(
    for word: String, in known: some Sequence<String>, quote: String = "`"
  ) -> String {
    find(word, in: known).map { "; did you mean \(quote)\($0.displayable)\(quote)?" } ?? ""
  }

  /// Insertions, deletions, replacements, and swaps of neighbours (optimal string alignment).
  static func edits(_ a: [Unicode.Scalar], _ b: [Unicode.Scalar]) -> Int {
    var before: [Int] = []
    var last = Array(0...b.count)
    for i in a.indices {
      var row = [i + 1]
      row.reserveCapacity(b.count + 1)
      for j in b.indices {
        var cost = min(row[j] + 1, last[j + 1] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, before[j - 1] + 1) }
        row.append(cost)
      }
      before = last
      last = row
    }
    return last[b.count]
  }
}
