import Foundation
import SkeinClient
import SkeinCore

/// A form for records, as in `--template '%o %k=%v\n'`.
struct RecordTemplate: Sendable, Equatable {
  enum Piece: Sendable, Equatable {
    case literal(String)
    case topic, partition, offset, key, value, milliseconds, time, headers
  }

  private let pieces: [Piece]

  /// - Throws: `UsageError` for a letter that means nothing.
  init(_ text: String) throws {
    var pieces: [Piece] = []
    var literal = ""
    var rest = Self.unescaped(text)[...]
    while let character = rest.popFirst() {
      guard character == "%" else {
        literal.append(character)
        continue
      }
      let letter = rest.popFirst()
      if letter == "%" {
        literal.append("%")
        continue
      }
      guard let piece = letter.flatMap({ Self.letters[$0] }) else {
        throw UsageError(
          "--template: %\(letter.map { String($0).displayable } ?? "") means nothing; there are %t %p %o %k %v %T %I %h %%"
        )
      }
      if !literal.isEmpty { pieces.append(.literal(literal)) }
      literal = ""
      pieces.append(piece)
    }
    if !literal.isEmpty { pieces.append(.literal(literal)) }
    self.pieces = pieces
  }

  private static let letters: [Character: Piece] = [
    "t": .topic, "p": .partition, "o": .offset, "k": .key, "v": .value, "T": .milliseconds, "I": .time,
    "h": .headers,
  ]

  /// `\n`, `\t`, `\r`, `\0` and `\\`; any other backslash stays.
  static func unescaped(_ text: String) -> String {
    let known: [Character: Character] = ["n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"]
    var out = ""
    var rest = text[...]
    while let character = rest.popFirst() {
      if character == "\\", let next = rest.first, let meant = known[next] {
        out.append(meant)
        rest = rest.dropFirst()
      } else {
        out.append(character)
      }
    }
    return out
  }

  func write(
    _ record: RecordView, _ batch: RecordBatch, _ encoding: TextEncoding, to output: inout OutputBuffer
  ) throws {
    for piece in pieces {
      switch piece {
      case .literal(let text): try output.append(text)
      case .topic: try output.append(batch.topic)
      case .partition: try output.append(String(batch.partition))
      case .offset: try output.append(String(record.offset))
      case .key: if let key = record.key { try encoding.write(key, to: &output) }
      case .value: if let value = record.value { try encoding.write(value, to: &output) }
      case .milliseconds: try output.append(String(record.timestamp))
      case .time: try output.append(Units.time(record.timestamp))
      case .headers: try output.append(RecordFormatter.headers(record).text)
      }
    }
  }
}
