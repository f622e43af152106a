/// One element of `accept` or `content-type`: a type and its parameters, in lower case. A plain value.
struct MediaType {
  let name: String
  let parameters: [String: String]

  static func list(_ text: String) -> [MediaType] {
    text.split(separator: ",").map { MediaType($0) }
  }

  private init(_ text: Substring) {
    let parts = text.lowercased().split(separator: ";").map(Self.trimmed)
    name = parts.first ?? ""
    var parameters: [String: String] = [:]
    for part in parts.dropFirst() {
      let sides = part.split(separator: "=", maxSplits: 1).map { Self.trimmed($0) }
      if sides.count == 2 { parameters[sides[0]] = sides[1].filter { $0 != "\"" } }
    }
    self.parameters = parameters
  }

  /// JSON may be sent to who names this type in `accept`.
  var admitsJSON: Bool {
    let isExcluded = parameters["q"].map { $0.allSatisfy { "0.".contains($0) } } ?? false
    return !isExcluded && ["*/*", "application/*", "application/json"].contains(name)
  }

  var isJSONInUTF8: Bool { name == "application/json" && (parameters["charset"] ?? "utf-8") == "utf-8" }

  private static func trimmed(_ text: some StringProtocol) -> String {
    String(text.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
  }
}
