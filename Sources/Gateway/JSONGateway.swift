import NIOCore
import NIOPosix
package import SkeinCore
package import Transport
import Wire

/// The JSON door: requests under `/v1` on the gRPC listener become calls of the same handlers.
///
/// TLS, client certificate, principal, limits, deadlines and drain are gRPC's own. There is no HTTP/1.1 (ALPN),
/// no cookie and no CORS: a request that a browser sends for a page of another origin is refused.
/// Immutable; any thread. It owns one thread for large bodies: `close` ends it.
package final class JSONGateway: HTTPDoor {
  let limits: JSONLimits
  private let budget: MemoryBudget?
  /// One thread: JSON takes what other work leaves, and its queue is bounded by what the budget admits.
  private let pool = NIOThreadPool(numberOfThreads: 1)
  private let table = RouteTable.standard

  /// - Parameter budget: what bodies, trees and messages are charged to.
  package init(limits: JSONLimits = JSONLimits(), budget: MemoryBudget? = nil) {
    self.limits = limits
    self.budget = budget
    pool.start()
  }

  /// Ends the thread. Once, after the server is closed.
  package func close() async { try? await pool.shutdownGracefully() }

  package func owns(_ target: String) -> Bool {
    guard target.utf8.starts(with: RouteTable.prefix.utf8) else { return false }
    let next = target.utf8.dropFirst(RouteTable.prefix.utf8.count).first
    return next == nil || next == UInt8(ascii: "/") || next == UInt8(ascii: "?")
  }

  package func open(_ request: HTTPRequest) -> HTTPOpening {
    do throws(Fault) {
      return try plan(request)
    } catch {
      return .answer(HTTPResponse(error))
    }
  }

  // MARK: From headers to a call

  private func plan(_ request: HTTPRequest) throws(Fault) -> HTTPOpening {
    if request.headers["origin"] != nil {
      throw Fault(
        .permissionDenied,
        "requests of web pages (with an Origin header) are not served: a browser would lend them its certificate"
      )
    }
    let target = try RequestTarget(request.target)
    if request.method == "OPTIONS", case let allowed = table.allowed(target.path), !allowed.isEmpty {
      return .answer(HTTPResponse(204, headers: [("allow", allowed.joined(separator: ", "))]))
    }
    let found = try table.find(request.method, target.path, text: target.text)
    try checkAccept(request)
    guard case .route(let route, let values) = found else {
      return .answer(HTTPResponse(json: Array(Contract.openAPI.utf8)))
    }
    try checkBody(request, route)
    guard let input = MessageSchema.all[route.rpc.input], let output = MessageSchema.all[route.rpc.output]
    else {
      throw Fault(.internalError, "\(route.rpc.name) has no descriptor")
    }
    let parameters = try RequestParameters(route, values, target.query, schema: input)
    let translator = JSONTranslator(route, parameters, input: input, output: output, gateway: self)
    return .call(
      HTTPCallPlan(
        path: "/" + route.rpc.name, deadline: .now() + .nanoseconds(try timeout(request, parameters)),
        bodyLimit: route.hasBody ? limits.maxBodyBytes : JSONLimits.unwantedBody, translator: translator))
  }

  private func checkAccept(_ request: HTTPRequest) throws(Fault) {
    let accepts = request.headers.entries.filter { $0.name == "accept" }.compactMap(\.text)
    guard !accepts.isEmpty else { return }
    guard MediaType.list(accepts.joined(separator: ",")).contains(where: \.admitsJSON) else {
      throw Fault(
        .notAcceptable,
        "the answer is application/json, which accept: \(accepts.joined(separator: ",").displayable) excludes"
      )
    }
  }

  private func checkBody(_ request: HTTPRequest, _ route: Route) throws(Fault) {
    if let coding = request.headers.text("content-encoding"), coding.lowercased() != "identity" {
      throw Fault(
        .encodingUnsupported,
        "content-encoding \(coding.displayable) is not supported; send the body as it is")
    }
    guard !request.hasNoBody, request.contentLength != 0 else { return }
    if let length = request.contentLength, length > limits.maxBodyBytes {
      let shown = length == .max ? "more than 999999999" : String(length)
      throw Fault(
        .messageTooLarge,
        "a body of \(shown) bytes exceeds the limit of \(limits.maxBodyBytes) bytes; it was refused before it was read",
        metadata: ["limit": String(limits.maxBodyBytes)])
    }
    guard route.hasBody else { return }
    guard let type = request.contentType.flatMap({ MediaType.list($0).first }), type.isJSONInUTF8 else {
      let given =
        request.contentType.map { "content-type \($0.displayable)" } ?? "a body without content-type"
      throw Fault(
        .mediaTypeUnsupported,
        "\(given) is not understood; send content-type: application/json (curl: --json, or -H)")
    }
  }

  private func timeout(_ request: HTTPRequest, _ parameters: RequestParameters) throws(Fault) -> Int64 {
    if let text = parameters.timeout ?? request.headers.text("timeout") {
      return try TimeoutText.parse(text, limits: limits)
    }
    guard !request.timeoutIsMalformed else {
      throw Fault(
        .parameterInvalid, "malformed grpc-timeout: it must be 1 to 8 digits and one of H M S m u n",
        violations: [.init(field: "grpc-timeout", description: "1 to 8 digits and one of H M S m u n")])
    }
    let longest = limits.maxTimeoutSeconds * 1_000_000_000
    return min(request.timeoutNanoseconds ?? limits.defaultTimeoutSeconds * 1_000_000_000, longest)
  }

  // MARK: For its translators

  /// Runs `work` here when it is small, on the pool when it is not.
  func run(bytes: Int, _ work: @escaping @Sendable () -> Void) {
    if bytes <= limits.maxBytesOnLoop { return work() }
    // Also when the pool has ended: the call is then closed, and its answer goes nowhere.
    pool.submit { _ in work() }
  }

  /// The method changes nothing: it has a path for GET.
  func isSafe(_ rpc: RPCMethod) -> Bool { table.safe.contains(rpc.name) }

  /// - Throws: `OVERLOADED` when the memory budget has no room.
  func reserve(_ bytes: Int) throws(Fault) -> MemoryBudget.Reservation? {
    guard let budget else { return nil }
    guard let reservation = budget.reserve(bytes) else {
      throw Fault(
        .overloaded, "no memory within the budget for a JSON request of this size; try again later",
        retryAfterMilliseconds: 1_000)
    }
    return reservation
  }
}

extension JSONLimits {
  /// How much of a body is read where none belongs, so that the refusal can say so: more is MESSAGE_TOO_LARGE.
  static let unwantedBody = 4 << 10
}
