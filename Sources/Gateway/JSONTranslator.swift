import SkeinCore
import Transport
import Wire

/// One JSON request on its way to a handler and back. Immutable; its work runs on the loop or the pool.
final class JSONTranslator: HTTPTranslator {
  private let route: Route
  private let parameters: RequestParameters
  private let input: MessageSchema
  private let output: MessageSchema
  private let gateway: JSONGateway

  init(
    _ route: Route, _ parameters: RequestParameters, input: MessageSchema, output: MessageSchema,
    gateway: JSONGateway
  ) {
    self.route = route
    self.parameters = parameters
    self.input = input
    self.output = output
    self.gateway = gateway
  }

  // MARK: Request

  func request(_ body: SharedBytes, done: @escaping @Sendable (HTTPTranslation) -> Void) {
    gateway.run(bytes: body.count) {
      do throws(Fault) {
        done(.message(try self.message(body)))
      } catch {
        done(.refused(HTTPResponse(error, statusMessage: error.statusMessage, callersName: self.callersName)))
      }
    }
  }

  private func message(_ body: SharedBytes) throws(Fault) -> SharedBytes {
    guard route.hasBody || body.isEmpty else {
      throw Fault(.jsonInvalid, "\(route.method) takes no body; its fields are query parameters")
    }
    let bytes = try body.withUnsafeBytes { (text) throws(Fault) -> [UInt8] in
      let values = try text.isEmpty ? 0 : JSONText.check(text, limits: gateway.limits)
      let reservation = try gateway.reserve(gateway.limits.treeBytes(body: text.count, values: values))
      defer { withExtendedLifetime(reservation) {} }
      var object = try JSONText.parse(text)
      try parameters.assign(to: &object)
      return try MessageFromJSON.encode(
        object, as: input, form: parameters.form, limits: gateway.limits,
        reason: route.hasBody ? .jsonInvalid : .parameterInvalid)
    }
    return SharedBytes(bytes, reservation: try gateway.reserve(bytes.count))
  }

  // MARK: Response

  func response(
    _ message: OutboundMessage?, _ status: GRPCStatus, done: @escaping @Sendable (HTTPResponse) -> Void
  ) {
    guard status.code == .ok else { return done(refusal(status)) }
    guard let message else {
      return done(HTTPResponse(Fault(.internalError, "\(route.rpc.name) ended without an answer")))
    }
    gateway.run(bytes: message.count) {
      do throws(Fault) {
        done(try self.answer(message))
      } catch {
        done(HTTPResponse(error))
      }
    }
  }

  /// Trees of large answers are not charged: the pool makes one at a time. The text is, until it is sent, where
  /// a refusal can still be true: what has changed something is answered whatever the budget says.
  private func answer(_ message: OutboundMessage) throws(Fault) -> HTTPResponse {
    var bytes = message.head
    for part in message.parts { part.withUnsafeBytes { bytes.append(contentsOf: $0) } }
    let text = try JSONText.write(
      try JSONFromMessage.object(bytes, as: output, form: parameters.form, limits: gateway.limits))
    let reservation = gateway.isSafe(route.rpc) ? try gateway.reserve(text.count) : nil
    return HTTPResponse(json: text, reservation: reservation)
  }

  private func refusal(_ status: GRPCStatus) -> HTTPResponse {
    let fault = Fault(statusMessage: status.details, code: status.code, message: status.message)
    let message = status.details.isEmpty ? fault.statusMessage : status.details
    return HTTPResponse(fault, statusMessage: message, callersName: callersName)
  }

  /// Handlers name fields as the `.proto` file does: the path in JSON, and the parameter's name where the
  /// value came from path or query.
  private func callersName(_ field: String) -> String {
    parameters.callersName(Self.jsonPath(field, input))
  }

  /// Translates the steps that are fields of the request; the rest stays as it is.
  static func jsonPath(_ field: String, _ schema: MessageSchema) -> String {
    let end = field.firstIndex { ".[".contains($0) } ?? field.endIndex
    guard let found = schema.field(named: String(field[..<end])) else { return field }
    var rest = field[end...]
    var out = found.jsonName
    if rest.hasPrefix("["), let close = rest.firstIndex(of: "]") {
      out += rest[...close]
      rest = rest[rest.index(after: close)...]
    }
    guard rest.hasPrefix("."), case .message(let nested) = found.kind else { return out + rest }
    return out + "." + jsonPath(String(rest.dropFirst()), nested)
  }
}
