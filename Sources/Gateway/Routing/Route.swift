import SkeinCore
import Wire

/// One resource path of the JSON API: method, template, and the RPC behind it.
///
/// Template: `/v1/topics/{topic=partitions.topic}/records?{offset=partitions.offset}&decoded=true`. A variable
/// names a field of the request by its path (its own name when there is no `=`); a step through a
/// repeated field means its first element. Behind `?` stand query parameters that name a nested field, and
/// constants, which hold unless the caller says otherwise. All other top-level fields are members of the body
/// (POST, PATCH) or query parameters of their own name (GET, DELETE). Immutable; any thread.
struct Route: Sendable {
  enum Segment: Sendable, Equatable {
    case literal(String)
    case variable(Binding)
  }

  /// A name of the URL for a field of the request.
  struct Binding: Sendable, Equatable {
    let name: String
    /// Names of the fields on the way, as in the `.proto` file.
    let field: [String]

    /// `name=path.of.field`, or `name`.
    init(_ text: Substring) {
      let parts = text.split(separator: "=", maxSplits: 1)
      name = parts.first.map(String.init) ?? ""
      field = (parts.last ?? "").split(separator: ".").map(String.init)
    }
  }

  let method: String
  /// Without the query.
  let template: String
  let rpc: RPCMethod
  let segments: [Segment]
  let query: [Binding]
  let constants: [Binding: String]

  var hasBody: Bool { method == "POST" || method == "PATCH" || method == "PUT" }

  /// - Parameter text: trusted: it comes from the contract, and a test parses all of them.
  init(_ method: String, _ text: String, _ rpc: RPCMethod) {
    self.method = method
    self.rpc = rpc
    let halves = text.split(separator: "?", maxSplits: 1)
    template = String(halves[0])
    segments = template.split(separator: "/").map { part in
      part.hasPrefix("{") ? .variable(Binding(part.dropFirst().dropLast()[...])) : .literal(String(part))
    }
    var query: [Binding] = []
    var constants: [Binding: String] = [:]
    for part in halves.count > 1 ? halves[1].split(separator: "&") : [] {
      if part.hasPrefix("{") {
        query.append(Binding(part.dropFirst().dropLast()[...]))
      } else {
        let sides = part.split(separator: "=", maxSplits: 1)
        constants[Binding(sides[0])] = String(sides.last ?? "")
      }
    }
    self.query = query
    self.constants = constants
  }

  /// The values of the variables, in order; nil when the path is another's: a variable is never
  /// empty. `path` is decoded.
  func match(_ path: [String]) -> [(Binding, String)]? {
    guard path.count == segments.count else { return nil }
    var values: [(Binding, String)] = []
    for (segment, part) in zip(segments, path) {
      switch segment {
      case .literal(let text): if text != part { return nil }
      case .variable(let binding):
        if part.isEmpty { return nil }
        values.append((binding, part))
      }
    }
    return values
  }
}

extension Route.Binding: Hashable {}
