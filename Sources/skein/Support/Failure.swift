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

extension Error {
  /// Whether it is the broker's or the SDK's refusal for this reason.
  func isReason(_ reason: Reason) -> Bool { (self as? SkeinError)?.reason == reason.name }
}

/// What `body` gives; nil when it is refused for `reason` (which may be none).
func nilIf<R>(_ reason: Reason?, _ body: () async throws -> R) async throws -> R? {
  do {
    return try await body()
  } catch {
    guard let reason, error.isReason(reason) else { throw error }
    return nil
  }
}

/// From an error to a few lines on stderr and an exit code (protocol.md, command line).
enum Failure {
  static let failed: Int32 = 1
  static let usage: Int32 = 2
  static let access: Int32 = 3
  static let unreachable: Int32 = 4

  /// Set by `--verbose`; may be set by hand.
  static let verboseVariable = "SKEIN_VERBOSE"
  static var isVerbose: Bool { ProcessInfo.processInfo.environment[verboseVariable]?.isEmpty == false }

  /// Prints it and returns the exit code.
  static func report(_ error: any Error) -> Int32 {
    switch error {
    case let error as UsageError:
      Console.note("skein: \(error)")
      return usage
    case let error as LocalFailure:
      Console.note("skein: \(error)")
      return failed
    case let error as HintedError:
      Console.note(text(error.error, hint: error.hint))
      return code(error.error)
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

  /// What happened, what its reason means and what to do; with `--verbose` also what programs see.
  static func text(_ error: SkeinError, hint: String? = nil) -> String {
    let refused = error.reason == Reason.pluginRefused.name ? "REFUSED " : ""
    var lines = ["skein: \(refused)\(escaped(headline(error))) [\(error.reason.displayable)]"]
    lines += error.violations.map {
      "  \(escaped($0.field)): \(escaped($0.description))\(SettingHint.hint(for: $0))"
    }
    if let hint {
      lines.append("  \(hint)")
    } else if error.violations.isEmpty, error.metadata["cure"] == nil,
      let meaning = Reason.named(error.reason)?.meaning
    {
      lines.append("  \(meaning)")
    }
    if error.outcome == .unknown { lines.append("  It may or may not have been applied.") }
    if isVerbose {
      lines += details(error)
    } else if code(error) == unreachable {
      lines.append("  `skein doctor` looks at the connection step by step.")
    }
    return lines.joined(separator: "\n")
  }

  /// The message without the violations that it repeats: they follow in lines of their own.
  private static func headline(_ error: SkeinError) -> String {
    guard let first = error.violations.first?.field, !first.isEmpty,
      let place = error.message.range(of: ": \(first)")
    else { return error.message }
    return String(error.message[..<place.lowerBound])
  }

  private static func details(_ error: SkeinError) -> [String] {
    var lines = [
      "  code \(error.code.name), outcome \(error.outcome == .definite ? "definite" : "unknown"), "
        + (error.isRetriable ? "may be retried" : "not worth a retry")
    ]
    if let wait = error.retryAfter { lines.append("  asked to wait \(wait)") }
    lines += error.metadata.sorted { $0.key < $1.key }.map {
      "  \($0.key.displayable) = \(escaped($0.value))"
    }
    if let cause = error.cause { lines.append("  cause: \(escaped("\(cause)"))") }
    return lines
  }

  /// `displayable` without its limit: an explanation is shown whole.
  static func escaped(_ text: String) -> String {
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
    if !message.isEmpty { Console.note(ValueHint.extend(message)) }
    let isUsage = Skein.exitCode(for: error) == .validationFailure
    return isUsage ? usage : (error as? ExitCode)?.rawValue ?? failed
  }
}

/// The nearest name where the broker does not know a setting: its sentence lists those that it knows.
enum SettingHint {
  static func hint(for violation: SkeinError.FieldViolation) -> String {
    guard violation.description.contains("unknown setting"),
      let list = violation.description.range(of: "known: ")
    else { return "" }
    let known = violation.description[list.upperBound...].split(separator: ", ").map(String.init)
    // The name stands in the field, set[NAME], or where that is a number in quotes in the sentence.
    let field = violation.field.split { $0 == "[" || $0 == "]" || $0 == "\"" }.last.map(String.init) ?? ""
    let quoted = violation.description.split(separator: "\"", maxSplits: 2, omittingEmptySubsequences: false)
    let name = Int(field) != nil && quoted.count == 3 ? String(quoted[1]) : field
    return NearestWord.hint(for: name, in: known)
  }
}
