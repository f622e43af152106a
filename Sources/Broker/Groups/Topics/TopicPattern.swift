import CPCRE2
import GroupCoordination
import SkeinCore

/// A regular expression over topic names, in PCRE2's syntax, compiled. It stands for whole names.
///
/// The one place where PCRE2 is called. Its work is bounded: length and nesting when it is compiled; steps, depth and
/// memory of each match.
///
/// `@unchecked Sendable`: immutable once PCRE2 has compiled it; every match brings its own memory.
final class TopicPattern: @unchecked Sendable {
  /// Steps of one match: names have at most 249 bytes, and an honest pattern takes a few steps a byte.
  static let matchLimit: UInt32 = 20_000
  static let depthLimit: UInt32 = 1_000
  /// KiB of memory of one match.
  static let heapLimit: UInt32 = 256
  static let nestingLimit: UInt32 = 32

  enum Match: Sendable {
    case yes, no
    /// A limit was reached.
    case tooMuchWork
  }

  let text: String
  private let code: OpaquePointer
  private let context: OpaquePointer

  /// - Throws: `PATTERN_INVALID` with the position (bytes) and why.
  init(_ text: String) throws(Fault) {
    let bytes = Array(text.utf8)
    guard (1...GroupLimits.patternBytes).contains(bytes.count) else {
      throw Self.invalid(
        text, at: 0, "it has \(bytes.count) bytes; 1 to \(GroupLimits.patternBytes) are allowed")
    }
    guard let compiling = pcre2_compile_context_create_8(nil), let context = pcre2_match_context_create_8(nil)
    else { throw Fault(.overloaded, "there is no memory for a pattern", retryAfterMilliseconds: 1_000) }
    defer { pcre2_compile_context_free_8(compiling) }
    pcre2_set_parens_nest_limit_8(compiling, Self.nestingLimit)
    pcre2_set_max_pattern_length_8(compiling, GroupLimits.patternBytes)
    var code: Int32 = 0
    var position = 0
    let options =
      UInt32(PCRE2_UTF) | UInt32(PCRE2_ANCHORED) | UInt32(PCRE2_ENDANCHORED) | UInt32(PCRE2_NEVER_BACKSLASH_C)
    guard let compiled = pcre2_compile_8(bytes, bytes.count, options, &code, &position, compiling) else {
      pcre2_match_context_free_8(context)
      throw Self.invalid(text, at: position, Self.message(code))
    }
    pcre2_set_match_limit_8(context, Self.matchLimit)
    pcre2_set_depth_limit_8(context, Self.depthLimit)
    pcre2_set_heap_limit_8(context, Self.heapLimit)
    self.text = text
    self.code = compiled
    self.context = context
  }

  deinit {
    pcre2_code_free_8(code)
    pcre2_match_context_free_8(context)
  }

  func match(_ name: String) -> Match {
    var name = name
    return name.withUTF8 { bytes in
      guard let data = pcre2_match_data_create_8(1, nil) else { return .tooMuchWork }
      defer { pcre2_match_data_free_8(data) }
      let result = pcre2_match_8(code, bytes.baseAddress, bytes.count, 0, 0, data, context)
      if result >= 0 { return .yes }
      return result == PCRE2_ERROR_NOMATCH ? .no : .tooMuchWork
    }
  }

  /// Refuses a pattern that needs too much work for names that are made to find such ones.
  /// - Throws: `PATTERN_INVALID`.
  func probe() throws(Fault) {
    for name in Self.probes {
      if case .tooMuchWork = match(name) {
        throw Self.invalid(
          text, at: 0,
          "it needs more than \(Self.matchLimit) steps for a name of \(name.utf8.count) bytes; avoid repetition within repetition"
        )
      }
    }
  }

  private static let probes: [String] = {
    let length = GroupLimits.nameBytes - 1
    return ["a", "0", "-", "ab", "a.", "a-0"].flatMap { unit in
      let run = String(repeating: unit, count: length / unit.utf8.count)
      return [run, run + "_"]
    }
  }()

  private static func invalid(_ text: String, at position: Int, _ why: String) -> Fault {
    Fault(
      .patternInvalid, "the pattern `\(text.displayable)` is not valid at byte \(position): \(why)",
      metadata: ["pattern": text.displayable, "position": "\(position)", "why": why])
  }

  /// PCRE2's words for an error.
  private static func message(_ code: Int32) -> String {
    var buffer = [UInt8](repeating: 0, count: 256)
    let count = pcre2_get_error_message_8(code, &buffer, buffer.count)
    guard count > 0 else { return "error \(code)" }
    return String(decoding: buffer.prefix(Int(count)), as: UTF8.self)
  }
}
