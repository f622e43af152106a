import SkeinCore

/// Finds the route of a method and a path. Immutable; any thread.
struct RouteTable: Sendable {
  static let prefix = "/v1"
  static let openAPIPath = ["v1", "openapi.json"]

  /// The resources, then `POST /v1/<service>/<Method>` of every unary RPC.
  let routes: [Route]
  /// Names of methods that have a path for GET.
  let safe: Set<String>
  private let methods: [String: RPCMethod]
  private let byPath: [String: Route]

  static let standard = RouteTable(methods: Contract.methods, routes: Contract.routes)

  init(methods: [RPCMethod], routes: [(String, String, String)]) {
    self.methods = Dictionary(methods.map { ($0.name, $0) }) { first, _ in first }
    var resources: [Route] = []
    for (method, template, name) in routes {
      if let rpc = self.methods[name] { resources.append(Route(method, template, rpc)) }
    }
    let generic = methods.filter(\.isUnary).map { Route("POST", "\(Self.prefix)/\($0.name)", $0) }
    byPath = Dictionary(generic.map { ($0.rpc.name, $0) }) { first, _ in first }
    self.routes = resources + generic
    safe = Set(resources.filter { $0.method == "GET" }.map(\.rpc.name))
  }

  enum Found {
    case route(Route, [(Route.Binding, String)])
    case openAPI
  }

  /// - Parameters:
  ///   - method: HEAD is looked up as GET.
  ///   - path: decoded segments.
  ///   - text: the path as it was sent, for the sentence of a refusal.
  /// - Throws: `PATH_UNKNOWN`, `HTTP_METHOD_NOT_ALLOWED` (metadata: `allow`), `METHOD_UNKNOWN` for a stream.
  func find(_ method: String, _ path: [String], text: String) throws(Fault) -> Found {
    let wanted = method == "HEAD" ? "GET" : method
    let allowed = allowed(path)
    guard !allowed.isEmpty else { throw unknown(path, text) }
    guard allowed.contains(method) else {
      throw Fault(
        .httpMethodNotAllowed,
        "\(method.displayable) is not possible on \(text.displayable); \(allowed.joined(separator: ", ")) are",
        metadata: ["allow": allowed.joined(separator: ", ")])
    }
    if path == Self.openAPIPath { return .openAPI }
    for route in candidates(path) where route.method == wanted {
      if let values = route.match(path) { return .route(route, values) }
    }
    throw unknown(path, text)
  }

  /// The methods that a path has; empty for a path that is none. HEAD and OPTIONS are added.
  func allowed(_ path: [String]) -> [String] {
    if path == Self.openAPIPath { return ["GET", "HEAD", "OPTIONS"] }
    var methods: [String] = []
    for route in candidates(path) where route.match(path) != nil && !methods.contains(route.method) {
      methods.append(route.method)
    }
    guard !methods.isEmpty else { return [] }
    if methods.contains("GET") { methods.append("HEAD") }
    return methods.sorted() + ["OPTIONS"]
  }

  private func candidates(_ path: [String]) -> [Route] {
    // A service's full name has dots and no resource's literal does.
    if path.count == 3, let route = byPath["\(path[1])/\(path[2])"] { return [route] }
    return routes
  }

  private func unknown(_ path: [String], _ text: String) -> Fault {
    if path.count == 3, let rpc = methods["\(path[1])/\(path[2])"], !rpc.isUnary {
      return Fault(
        .methodUnknown,
        "\(rpc.name) is a stream, which needs gRPC: over JSON use Producer/Publish and Consumer/Fetch")
    }
    let known = routes.map { Self.filled($0, path) } + ["/" + Self.openAPIPath.joined(separator: "/")]
    return Fault(
      .pathUnknown,
      "there is nothing at \(text.displayable)\(NearestWord.hint(for: "/" + path.joined(separator: "/"), in: known, quote: "\"")); /v1/openapi.json lists all paths"
    )
  }

  /// The template with the caller's own values, for comparison.
  private static func filled(_ route: Route, _ path: [String]) -> String {
    route.segments.enumerated().reduce(into: "") { out, segment in
      switch segment.element {
      case .literal(let text): out += "/" + text
      case .variable(let binding):
        out += "/" + (segment.offset < path.count ? path[segment.offset] : binding.name)
      }
    }
  }
}
