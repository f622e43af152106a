import Testing

/// Docs/settings.md has one row for each setting of the broker and of a topic, with the meaning that the
/// program shows. Compared with the text of the two catalogues, because tests do not link programs.
@Suite struct SettingsPageTests {
  @Test func pageListsEverySetting() throws {
    let broker = try Repository.text("Sources/skeind/SettingsCatalogue.swift")
    let topic = try Repository.text("Sources/Broker/Topics/TopicSettings.swift")
    let found = SettingsPage.differences(
      page: try Repository.text("Docs/settings.md"), broker: broker, topic: topic)
    #expect(found.isEmpty, "\(violationList(found))")
  }

  @Test func refusesAMissingAStaleAndAWrongRow() {
    let broker = #".init(key: "a.b", kind: .text, standard: nil, meaning: "What it does.")"#
    let topic = #"integer("c.ms", \.c, "1 to 2", { _ in true }, "How long.")"#
    let good = "| `a.b` | a text | none | What it does. |\n| `c.ms` | 1 to 2 | `1` | How long. |"
    #expect(SettingsPage.differences(page: good, broker: broker, topic: topic).isEmpty)
    let missing = "| `a.b` | a text | none | What it does. |"
    #expect(SettingsPage.differences(page: missing, broker: broker, topic: topic).count == 1)
    let stale = good + "\n| `old` | a text | none | What it does. |"
    #expect(SettingsPage.differences(page: stale, broker: broker, topic: topic).count == 1)
    let wrong = good.replacing("How long.", with: "How short.")
    #expect(SettingsPage.differences(page: wrong, broker: broker, topic: topic).count == 1)
  }
}

enum SettingsPage {
  static func differences(page: String, broker: String, topic: String) -> [Violation] {
    let known =
      broker.matches(of: /key: "([^"]+)"/).map { String($0.output.1) }
      + topic.matches(of: /(?:integer|choice|list)\(\s*"([^"]+)"/).map { String($0.output.1) }
    let rows = page.split(separator: "\n").filter { $0.hasPrefix("| `") }.map { line in
      line.split(separator: " | ").map { $0.trimmingPrefix("| ") }
    }
    let names = rows.map { String($0[0].filter { $0 != "`" }) }
    var found: [Violation] = []
    for name in known where !names.contains(name) {
      found.append(Violation(place: "Docs/settings.md", message: "lacks \(name)"))
    }
    for (name, row) in zip(names, rows) {
      let meaning = (row.last ?? "").replacing(" |", with: "")
      if !known.contains(name) {
        found.append(Violation(place: "Docs/settings.md", message: "has \(name), which does not exist"))
      } else if !broker.contains("\"\(meaning)\""), !topic.contains("\"\(meaning)\"") {
        found.append(
          Violation(place: "Docs/settings.md", message: "\(name): the catalogue gives another meaning"))
      }
    }
    return found
  }
}
