import ArgumentParser
import Foundation
import SkeinCore
import Yams

/// How results are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  /// For people; cells are escaped.
  case table
  /// One line; the only form that programs should read besides `yaml`.
  case json
  case yaml
  /// The names alone, one a line: for loops of a shell.
  case name
}

/// `--output`, here or before the command.
struct OutputOptions: ParsableArguments {
  @Option(
    name: [.customShort("o"), .customLong("output")], help: "table, json, yaml or name (default: table).")
  private var given: OutputFormat?

  var output: OutputFormat {
    given ?? ProcessInfo.processInfo.environment["SKEIN_OUTPUT"].flatMap(OutputFormat.init) ?? .table
  }

  mutating func validate() throws {
    let text = ProcessInfo.processInfo.environment["SKEIN_OUTPUT"] ?? "table"
    guard OutputFormat(rawValue: text) != nil else {
      let known = OutputFormat.allCases.map(\.rawValue)
      throw ValidationError(
        "--output \(text.displayable): give \(known.joined(separator: ", "))\(NearestWord.hint(for: text, in: known))"
      )
    }
  }

  /// Prints a result in the form that was asked for.
  /// - Parameters:
  ///   - names: of the things listed or changed, for `--output name`.
  ///   - table: made only when it is shown.
  func show(_ json: JSON, names: [String], table: () -> String) throws {
    switch output {
    case .json: try Console.print(json.text)
    case .yaml: try Console.write(Array(json.yaml.utf8), to: STDOUT_FILENO)
    case .name: for name in names { try Console.print(name.displayable) }
    case .table: try Console.print(table())
    }
  }
}

extension JSON {
  /// The same value as a YAML document.
  var yaml: String { (try? Yams.serialize(node: node, allowUnicode: true)) ?? text + "\n" }

  private var node: Node {
    switch self {
    case .object(let fields):
      Node.mapping(Node.Mapping(fields.map { (Node.scalar(.init($0.0)), $0.1.node) }))
    case .array(let values):
      Node.sequence(Node.Sequence(values.map(\.node), Tag(.implicit), values.isEmpty ? .flow : .any))
    // Quoted, so that `no` or `12` stay texts.
    case .string(let text): Node.scalar(.init(text, Tag(.str), .doubleQuoted))
    case .int, .double, .bool, .null: Node.scalar(.init(text, Tag(.implicit), .plain))
    }
  }
}
