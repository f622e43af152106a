/// The valid word that a wrong one was most likely meant to be. Pure.
enum NearestName {
  /// Words longer than this are not compared: the cost is the product of the lengths.
  private static let maxLength = 64

  /// The candidate at the smallest distance, if it is near: at most a third of the word is different.
  static func find(_ word: String, among candidates: some Sequence<String>) -> String? {
    let wanted = Array(word.lowercased().utf8)
    guard !wanted.isEmpty, wanted.count <= maxLength else { return nil }
    var best: (name: String, distance: Int)?
    for candidate in candidates where candidate.utf8.count <= maxLength {
      let distance = self.distance(wanted, Array(candidate.lowercased().utf8))
      if distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    guard let best, best.distance <= max(1, max(wanted.count, best.name.utf8.count) / 3) else { return nil }
    return best.name
  }

  /// `; did you mean "name"?`, or nothing.
  static func hint(_ word: String, among candidates: some Sequence<String>) -> String {
    find(word, among: candidates).map { "; did you mean \"\($0)\"?" } ?? ""
  }

  /// Levenshtein's: insertions, deletions and replacements.
  private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var row = Array(0...b.count)
    for i in a.indices {
      var diagonal = row[0]
      row[0] = i + 1
      for j in b.indices {
        let replaced = diagonal + (a[i] == b[j] ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
      }
    }
    return row[b.count]
  }
}
