import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

/// A wrong use of the command line: exit code 2.
struct UsageError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// The work itself failed, here at the terminal's end: exit code 1.
struct LocalFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// From an error to a line or two on stderr and an exit code (protocol.md, command line).
enum Failure {
  static let failed: Int32 = 1
  static let usage: Int32 = 2
  static let access: Int32 = 3
  static let unreachable: Int32 = 4

  /// Prints it and returns the exit code.
  static func report(_ error: any Error) -> Int32 {
    switch error {
    case let error as UsageError:
      Console.note("skein: \(error)")
      return usage
    case let error as LocalFailure:
      Console.note("skein: \(error)")
      return failed
    case let error as SkeinError:
      Console.note(text(error))
      return code(error)
    case is BrokenPipe:
      // The reader of our output has had enough, as `head` does.
      return 0
    default: return parser(error)
    }
  }

  static func code(_ error: SkeinError) -> Int32 {
    switch error.code {
    case .unauthenticated, .permissionDenied: return access
    case .unavailable:
      let isConnection = [Reason.unreachable.name, Reason.connectionLost.name].contains(error.reason)
      return isConnection ? unreachable : failed
    default: return failed
    }
  }

  /// What happened, then what its reason means and what to do.
  static func text(_ error: SkeinError) -> String {
    var lines = ["skein: \(escaped(error.message)) [\(error.reason.displayable)]"]
    lines += error.violations.map { "  \(escaped($0.field)): \(escaped($0.description))" }
    if error.violations.isEmpty, let meaning = Reason.named(error.reason)?.meaning {
      lines.append("  \(meaning)")
    }
    if error.outcome == .unknown { lines.append("  It may or may not have been applied.") }
    return lines.joined(separator: "\n")
  }

  /// `displayable` without its limit: an explanation is shown whole.
  private static func escaped(_ text: String) -> String {
    var rest = text.unicodeScalars[...]
    var out = ""
    while !rest.isEmpty {
      out += String(String.UnicodeScalarView(rest.prefix(200))).displayable
      rest = rest.dropFirst(200)
    }
    return out
  }

  /// Help, version and wrong arguments are swift-argument-parser's.
  private static func parser(_ error: any Error) -> Int32 {
    let isClean = Skein.exitCode(for: error) == .success
    let message = Skein.fullMessage(for: error)
    if isClean {
      if !message.isEmpty { try? Console.print(message) }
      return 0
    }
    Console.note(message)
    let isUsage = Skein.exitCode(for: error) == .validationFailure
    return isUsage ? usage : failed
  }
}
