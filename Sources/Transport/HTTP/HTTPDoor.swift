package import NIOCore
package import SkeinCore

/// A request on the gRPC listener whose content type is not gRPC's: its header block.
///
/// A plain value; any thread.
package struct HTTPRequest: Sendable {
  /// As sent: `GET`, `POST`, ...
  package var method: String
  /// `:path`, with the query, as sent: percent-encoded.
  package var target: String
  package var contentType: String?
  /// The body's length in bytes, if it was announced; lengths of ten digits and more are `Int.max`.
  package var contentLength: Int?
  /// All other headers, in order, names in lower case.
  package var headers: Metadata
  /// `grpc-timeout` in nanoseconds; nil without one.
  package var timeoutNanoseconds: Int64?
  /// There was a `grpc-timeout`, and it is malformed.
  package var timeoutIsMalformed: Bool
  /// The request ended with its headers.
  package var hasNoBody: Bool

  package init(
    method: String, target: String, contentType: String? = nil, contentLength: Int? = nil,
    headers: Metadata = Metadata(), timeoutNanoseconds: Int64? = nil, timeoutIsMalformed: Bool = false,
    hasNoBody: Bool = false
  ) {
    self.method = method
    self.target = target
    self.contentType = contentType
    self.contentLength = contentLength
    self.headers = headers
    self.timeoutNanoseconds = timeoutNanoseconds
    self.timeoutIsMalformed = timeoutIsMalformed
    self.hasNoBody = hasNoBody
  }
}

/// A whole answer. A plain value; any thread.
package struct HTTPResponse: Sendable {
  package var status: Int
  /// Names in lower case; `content-length` is added where it belongs.
  package var headers: [(name: String, value: String)]
  /// Sent from where it lies; what it was charged to is given back when the last byte has left.
  package var body: SharedBytes

  package init(
    _ status: Int, headers: [(name: String, value: String)] = [], body: SharedBytes = .empty
  ) {
    self.status = status
    self.headers = headers
    self.body = body
  }
}

/// Takes the requests that are not gRPC and makes calls of them for the router, so that one handler serves
/// both (`ServerConfiguration.http`).
package protocol HTTPDoor: Sendable {
  /// Whether requests of this `:path` are the door's; others are answered with 405 or 415. On the loop.
  func owns(_ target: String) -> Bool
  /// What becomes of a request, by its headers alone. On the loop; must not block.
  func open(_ request: HTTPRequest) -> HTTPOpening
}

/// What a door makes of a request.
package enum HTTPOpening {
  /// No call: this is the answer. A body that still comes is not read.
  case answer(HTTPResponse)
  case call(HTTPCallPlan)
}

/// The call behind a request.
package struct HTTPCallPlan {
  /// `/package.Service/Method`, for the router.
  package var path: String
  package var deadline: NIODeadline?
  /// The longest body, in bytes. Over it: MESSAGE_TOO_LARGE, before more is buffered.
  package var bodyLimit: Int
  package var translator: any HTTPTranslator

  package init(path: String, deadline: NIODeadline?, bodyLimit: Int, translator: any HTTPTranslator) {
    self.path = path
    self.deadline = deadline
    self.bodyLimit = bodyLimit
    self.translator = translator
  }
}

/// Turns the body of one request into the message of a unary call, and its outcome into the response.
///
/// Both verbs are called on the loop, each at most once, and may finish on any thread: large bodies are
/// not worked on by the loop.
package protocol HTTPTranslator: AnyObject, Sendable {
  /// - Parameter done: called exactly once, at once or later.
  func request(_ body: SharedBytes, done: @escaping @Sendable (HTTPTranslation) -> Void)
  /// - Parameters:
  ///   - message: what the handler sent; nil when it sent nothing.
  ///   - done: called exactly once, at once or later.
  func response(
    _ message: OutboundMessage?, _ status: GRPCStatus, done: @escaping @Sendable (HTTPResponse) -> Void)
}

/// What a body is.
package enum HTTPTranslation: Sendable {
  case message(SharedBytes)
  /// It does not fit; the call ends with this and its handler hears `closed`.
  case refused(HTTPResponse)
}
