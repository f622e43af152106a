import SkeinCore

/// Reads the members of one JSON object and notes every problem with its field; what was not asked for is unknown.
struct JSONMembers {
  private let members: [String: JSONValue]
  private let path: String
  private var asked: [String] = []
  private(set) var problems: [Fault.FieldViolation] = []

  init(_ members: [String: JSONValue], path: String = "") {
    self.members = members
    self.path = path
  }

  mutating func problem(_ name: String, _ text: String) {
    problems.append(.init(field: path + name, description: text))
  }

  mutating func take(_ more: [Fault.FieldViolation]) { problems += more }

  mutating func value(_ name: String) -> JSONValue? {
    asked.append(name)
    return members[name]
  }

  /// - Parameter standard: when absent; nil: it must be there.
  mutating func text(_ name: String, length: ClosedRange<Int>, standard: String? = nil) -> String {
    guard let value = value(name) else {
      if standard == nil { problem(name, "is missing; give a string") }
      return standard ?? ""
    }
    guard case .string(let text) = value else {
      problem(name, "is \(value.kind), not a string")
      return ""
    }
    let isPlain = text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7f }
    if !length.contains(text.utf8.count) {
      problem(name, "has \(text.utf8.count) bytes, not \(length.lowerBound) to \(length.upperBound)")
    } else if !isPlain {
      problem(name, "holds a control character; take it out")
    }
    return text
  }

  mutating func integer(_ name: String, _ range: ClosedRange<Int64>, standard: Int64? = nil) -> Int64 {
    guard let value = value(name) else {
      if standard == nil { problem(name, "is missing; give an integer") }
      return standard ?? range.lowerBound
    }
    guard case .integer(let number) = value, range.contains(number) else {
      problem(name, "must be an integer from \(range.lowerBound) to \(range.upperBound)")
      return range.lowerBound
    }
    return number
  }

  mutating func bool(_ name: String, standard: Bool) -> Bool {
    guard let value = value(name) else { return standard }
    guard case .bool(let flag) = value else {
      problem(name, "is \(value.kind), not true or false")
      return standard
    }
    return flag
  }

  /// - Returns: each string with its field.
  mutating func texts(
    _ name: String, count: ClosedRange<Int>, length: ClosedRange<Int>
  ) -> [String] {
    guard let value = value(name) else {
      if count.lowerBound > 0 { problem(name, "is missing; give an array of strings") }
      return []
    }
    guard case .array(let elements) = value, count.contains(elements.count) else {
      problem(name, "must be an array of \(count.lowerBound) to \(count.upperBound) strings")
      return []
    }
    var texts: [String] = []
    for (index, element) in elements.enumerated() {
      guard case .string(let text) = element, length.contains(text.utf8.count),
        text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f })
      else {
        problem(
          "\(name)[\(index)]", "must be a string of \(length.lowerBound) to \(length.upperBound) bytes")
        continue
      }
      guard !texts.contains(text) else {
        problem("\(name)[\(index)]", "\"\(text.displayable)\" stands there twice")
        continue
      }
      texts.append(text)
    }
    return texts
  }

  mutating func object(_ name: String, isRequired: Bool) -> [String: JSONValue]? {
    guard let value = value(name) else {
      if isRequired { problem(name, "is missing; give an object") }
      return nil
    }
    guard case .object(let object) = value else {
      problem(name, "is \(value.kind), not an object")
      return nil
    }
    return object
  }

  /// Every member that nobody asked for is a problem. Call it last.
  mutating func refuseUnknown() {
    for name in members.keys.sorted() where !asked.contains(name) {
      problem(name.displayable, "is not known\(NearestWord.hint(for: name, in: asked)); take it out")
    }
  }
}
