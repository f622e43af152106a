@testable import Transport

/// Every type of frame that HTTP/2 and its extensions define, one that nobody does, and the two ends of a
/// stream: the columns of the table.
enum FrameKind: String, CaseIterable, Sendable {
  case data = "DATA"
  case dataEnd = "DATA+end"
  case headers = "HEADERS"
  case headersEnd = "HEADERS+end"
  case priority = "PRIORITY"
  case reset = "RST_STREAM"
  case settings = "SETTINGS"
  case settingsAck = "SETTINGS+ack"
  case pushPromise = "PUSH_PROMISE"
  case ping = "PING"
  case pingAck = "PING+ack"
  case goAway = "GOAWAY"
  case windowUpdate = "WINDOW_UPDATE"
  case continuation = "CONTINUATION"
  case alternativeService = "ALTSVC"
  case origin = "ORIGIN"
  case priorityUpdate = "PRIORITY_UPDATE"
  case unknown = "type_0xbe"

  /// A sound frame of that kind on `stream`.
  ///
  /// - Parameter block: the header block that is in place there.
  func bytes(_ stream: UInt32, _ block: [UInt8]) -> [UInt8] {
    switch self {
    case .data: Frames.frame(0, 0, stream, [0, 0, 0, 0, 1, 42])
    case .dataEnd: Frames.frame(0, 1, stream, [0, 0, 0, 0, 1, 42])
    case .headers: Frames.frame(1, 4, stream, block)
    case .headersEnd: Frames.frame(1, 5, stream, block)
    case .priority: Frames.frame(2, 0, stream, [0, 0, 0, 0, 15])
    case .reset: Frames.frame(3, 0, stream, [0, 0, 0, 8])
    case .settings: Frames.frame(4, 0, stream, [])
    case .settingsAck: Frames.frame(4, 1, stream, [])
    case .pushPromise: Frames.frame(5, 4, stream, [0, 0, 0, 2] + Frames.request("/t.T/Hold"))
    case .ping: Frames.frame(6, 0, stream, Array("a probe!".utf8))
    case .pingAck: Frames.frame(6, 1, stream, Array("a probe!".utf8))
    case .goAway: Frames.frame(7, 0, stream, [0, 0, 0, 0, 0, 0, 0, 0])
    case .windowUpdate: Frames.frame(8, 0, stream, [0, 0, 4, 0])
    case .continuation: Frames.frame(9, 4, stream, block)
    case .alternativeService: Frames.frame(10, 0, stream, [0, 0] + Array("h2=\":1\"".utf8))
    case .origin: Frames.frame(12, 0, stream, [])
    case .priorityUpdate: Frames.frame(16, 0, stream, [0, 0, 0, 1] + Array("u=1".utf8))
    case .unknown: Frames.frame(0xbe, 0, stream, [1, 2, 3])
    }
  }
}

/// What comes of a frame.
enum FrameOutcome: Hashable, Sendable, CustomStringConvertible {
  /// It has an effect that can be seen: an answer, or something that a handler hears.
  case accepted
  /// Nothing comes of it, and nothing is wrong.
  case ignored
  /// RST_STREAM with this code; the connection goes on.
  case stream(UInt32)
  /// GOAWAY with this code, and the end of the connection.
  case connection(UInt32)
  /// The connection ends without an error.
  case ended

  init?(_ text: Substring) {
    switch text.first {
    case "+": self = .accepted
    case ".": self = .ignored
    case "e": self = .ended
    case "s":
      guard let code = UInt32(text.dropFirst()) else { return nil }
      self = .stream(code)
    case "c":
      guard let code = UInt32(text.dropFirst()) else { return nil }
      self = .connection(code)
    default: return nil
    }
  }

  var description: String {
    switch self {
    case .accepted: "+"
    case .ignored: "."
    case .ended: "e"
    case .stream(let code): "s\(code)"
    case .connection(let code): "c\(code)"
    }
  }
}

/// A table of expectations: one row a state, one column a kind of frame, as text that can be read.
struct FrameTable<State: RawRepresentable & CaseIterable & Hashable & Sendable>: Sendable
where State.RawValue == String {
  let cells: [State: [FrameKind: FrameOutcome]]
  /// What is wrong with the text: unknown states, missing or doubled ones, rows of another length.
  let faults: [String]

  /// - Parameter text: a line a state, `name: outcome outcome …` in the order of `FrameKind`.
  init(_ text: String) {
    var cells: [State: [FrameKind: FrameOutcome]] = [:]
    var faults: [String] = []
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2, let state = State(rawValue: String(parts[0]).trimmingBlanks) else {
        faults.append("no such state: \(line)")
        continue
      }
      let outcomes = parts[1].split(separator: " ").map { FrameOutcome($0) }
      if cells[state] != nil { faults.append("\(state.rawValue) twice") }
      if outcomes.count != FrameKind.allCases.count || outcomes.contains(nil) {
        faults.append("\(state.rawValue): \(outcomes.count) outcomes for \(FrameKind.allCases.count) kinds")
      }
      cells[state] = Dictionary(
        uniqueKeysWithValues: zip(FrameKind.allCases, outcomes).compactMap { kind, outcome in
          outcome.map { (kind, $0) }
        })
    }
    for state in State.allCases where cells[state] == nil { faults.append("\(state.rawValue) is missing") }
    self.cells = cells
    self.faults = faults
  }

  /// The table for the page: a row a state, a column a kind.
  var markdown: String {
    let head = "| state | " + FrameKind.allCases.map { "`\($0.rawValue)`" }.joined(separator: " | ") + " |\n"
    let rule = "|---|" + FrameKind.allCases.map { _ in "---|" }.joined() + "\n"
    let rows = State.allCases.map { state in
      let outcomes = FrameKind.allCases.map { cells[state]?[$0]?.description ?? "?" }
      return "| \(state.rawValue) | " + outcomes.joined(separator: " | ") + " |\n"
    }
    return head + rule + rows.joined()
  }

  static func line(_ state: State, _ outcomes: [FrameKind: FrameOutcome]) -> String {
    "\(state.rawValue): "
      + FrameKind.allCases.map { outcomes[$0].map(\.description) ?? "?" }.joined(separator: " ")
  }
}

extension String {
  fileprivate var trimmingBlanks: String {
    String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }
}
