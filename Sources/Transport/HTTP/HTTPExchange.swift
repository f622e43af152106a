import CNGHTTP2
import NIOCore
import SkeinCore

/// What makes a `Call` an HTTP request: its body comes raw, and its outcome leaves as one response.
///
/// States: body → translating → handler → answering → answered; `isAnswered` is set on the way into
/// answering, from which nothing leads back. Confined to the call's loop.
final class HTTPExchange {
  let isHead: Bool
  let hasNoBody: Bool
  var body: HTTPBody
  let translator: (any HTTPTranslator)?
  /// What the handler sent; a unary handler sends one message.
  var message: OutboundMessage?
  /// The outcome is known; the response has left or is being made.
  var isAnswered = false

  init(_ request: HTTPRequest, bodyLimit: Int, translator: (any HTTPTranslator)?) {
    isHead = request.method == "HEAD"
    hasNoBody = request.hasNoBody
    body = HTTPBody(limit: bodyLimit, announced: request.contentLength)
    self.translator = translator
    if translator == nil { body.stop() }
  }

  /// Bytes of the body while it is awaited, for the watch over stalled senders.
  var filledBytes: Int? { body.isStopped ? nil : body.count }
}

/// The HTTP side of a call. Loop only.
extension Call {
  /// DATA of the request. Its credit returns at once, for the memory is reserved. Returns what found no room
  /// in the budget.
  func receiveBody(
    _ bytes: UnsafeRawBufferPointer, _ http: HTTPExchange, _ budget: MemoryBudget?
  ) -> UnsafeRawBufferPointer? {
    var rest = bytes
    let refusal = http.body.take(&rest, budget: budget)
    receivedBytes &+= bytes.count - rest.count
    if case .overBudget = refusal {
      connection?.session?.consumeStream(stream, bytes.count - rest.count)
      return rest
    }
    connection?.session?.consumeStream(stream, bytes.count)
    connection?.setNeedsPump()
    if let refusal { refuse(refusal) }
    return nil
  }

  /// The body is whole: it becomes the call's one message.
  func receiveBodyEnd(_ http: HTTPExchange) {
    guard !http.isAnswered, let translator = http.translator else { return }
    let body = http.body.finish()
    translator.request(body) { translation in
      if self.eventLoop.inEventLoop {
        self.deliver(translation)
      } else {
        self.eventLoop.execute { self.deliver(translation) }
      }
    }
  }

  private func deliver(_ translation: HTTPTranslation) {
    guard !isClosed, let http, !http.isAnswered else { return }
    switch translation {
    case .message(let message):
      handler?.received(message)
      handler?.receivedEnd()
    case .refused(let response):
      http.isAnswered = true
      let handler = self.handler
      self.handler = nil
      respond(response)
      handler?.closed(GRPCStatus(.invalidArgument, "the body does not fit the request"), Metadata())
    }
  }

  /// The call has ended: its outcome becomes the response.
  func answer(_ http: HTTPExchange, _ status: GRPCStatus) {
    guard !http.isAnswered, let translator = http.translator else { return }
    http.isAnswered = true
    let message = http.message
    http.message = nil
    translator.response(message, status) { response in
      if self.eventLoop.inEventLoop {
        self.respond(response)
      } else {
        self.eventLoop.execute { self.respond(response) }
      }
    }
  }

  /// Sends a whole response. Once only.
  func respond(_ response: HTTPResponse) {
    guard !isClosed, !headersSent, let http, let connection else { return }
    http.isAnswered = true
    headersSent = true
    ending = .halfClose
    http.body.stop()
    var block = HeaderBlock()
    block.add(":status", String(response.status).utf8)
    for (name, value) in response.headers { block.add(name: name, value: value) }
    if response.status != 204 { block.add("content-length", String(response.body.count).utf8) }
    let isEmpty = http.isHead || response.body.isEmpty || response.status == 204
    if !isEmpty { outbound.append(raw: OutboundMessage(response.body)) }
    connection.session?.submitResponse(stream, block, isLast: isEmpty)
    connection.setNeedsPump()
  }
}

extension Connection {
  /// How long a client may go on sending a body that was answered already. curl 7.88 drops the answer when the
  /// reset overtakes its upload (nginx waits likewise: `lingering_close`).
  static let lingering = TimeAmount.seconds(1)

  /// The answer is complete and the request is not: what still comes is swallowed for a while, then the
  /// client is told to stop.
  func linger(_ stream: Int32) {
    _ = eventLoop.scheduleTask(in: Self.lingering) {
      guard self.phase == .open, self.calls[stream] != nil else { return }
      self.session?.reset(stream, NGHTTP2_NO_ERROR)
      self.setNeedsPump()
    }
  }
}
