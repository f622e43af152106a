import ArgumentParser
import Foundation
import SkeinCore

/// Looks at the command words before the parser does, which knows no word for "no such command".
enum CommandWords {
  /// - Throws: `UsageError` with the nearest word and all that exist there.
  static func check(_ arguments: [String]) throws {
    var command: any ParsableCommand.Type = Skein.self
    var path = [Skein._commandName]
    for (index, argument) in arguments.enumerated() {
      let commands = command.configuration.subcommands
      guard !commands.isEmpty, !argument.hasPrefix("-") else { return }
      if index == 0, argument == "help" { continue }
      guard let next = commands.first(where: { names($0).contains(argument) }) else {
        let shown = commands.filter { $0.configuration.shouldDisplay }.map { $0._commandName }
        throw UsageError(
          "`\(path.joined(separator: " "))` has no command `\(argument.displayable)`"
            + NearestWord.hint(for: argument, in: commands.flatMap(names))
            + "\n  It has: \(shown.joined(separator: ", ")).")
      }
      command = next
      path.append(next._commandName)
    }
  }

  private static func names(_ command: any ParsableCommand.Type) -> [String] {
    [command._commandName] + command.configuration.aliases
  }
}

/// Adds the nearest allowed value to the parser's message about a wrong one.
enum ValueHint {
  /// The parser says: The value 'xml' is invalid for '--output <output>'. Please provide one of 'table' and 'json'.
  static func extend(_ message: String) -> String {
    guard let start = message.range(of: "The value '"), message.contains("lease provide one of") else {
      return message
    }
    let words = message[start.upperBound...].split(separator: "'", omittingEmptySubsequences: false)
    // Every second piece stands in quotes: the value, the option, then what is allowed.
    let quoted = words.enumerated().filter { $0.offset.isMultiple(of: 2) }.map { String($0.element) }
    guard quoted.count > 2, let near = NearestWord.find(quoted[0], in: quoted.dropFirst(2)) else {
      return message
    }
    var lines = message.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    lines[0] += " Did you mean '\(near)'?"
    return lines.joined(separator: "\n")
  }
}
