import NIOCore
import SkeinCore

/// Requests that are not gRPC, for the door that the server was given. On the connection's loop.
extension ServerRole {
  /// Returns false when the request is not the door's.
  func openHTTP(_ connection: Connection, stream: Int32, endStream: Bool) -> Bool {
    let head = connection.head
    guard !head.contentTypeIsGRPC, let door = server.configuration.http, door.owns(head.path) else {
      return false
    }
    var request = HTTPRequest(head, hasNoBody: endStream)
    let authorization = desk == nil ? [] : request.headers.take("authorization")
    switch door.open(request) {
    case .answer(let response):
      let call = attach(connection, stream, head.path, request, plan: nil)
      call.respond(response)
    case .call(let plan):
      let call = attach(connection, stream, plan.path, request, plan: plan)
      if let desk {
        connection.watchDeadline(call)
        desk.admit(call, authorization: authorization, on: connection)
        if endStream { call.receiveEnd() }
        break
      }
      guard let http = call.http else { break }
      if let handler = server.router(call) {
        call.handler = http.isAnswered ? nil : handler
      } else {
        call.finish(
          explained(GRPCStatus(.unimplemented, "unknown method \(plan.path)", cause: .methodUnknown)))
      }
      connection.watchDeadline(call)
      if endStream { call.receiveEnd() }
    }
    return true
  }

  private func attach(
    _ connection: Connection, _ stream: Int32, _ path: String, _ request: HTTPRequest, plan: HTTPCallPlan?
  ) -> Call {
    let call = Call(
      connection: connection, eventLoop: connection.eventLoop, path: path, metadata: request.headers,
      deadline: plan?.deadline, peer: connection.peer, isServer: true, limits: connection.limits)
    call.stream = stream
    call.http = HTTPExchange(request, bodyLimit: plan?.bodyLimit ?? 0, translator: plan?.translator)
    connection.calls[stream] = call
    connection.session?.attach(call, to: stream)
    return call
  }
}

extension HTTPRequest {
  init(_ head: HeadBuilder, hasNoBody: Bool) {
    self.init(
      method: head.method, target: head.path, contentType: head.contentType,
      contentLength: head.contentLength, headers: head.metadata,
      timeoutIsMalformed: head.timeout == .malformed,
      hasNoBody: hasNoBody)
    if case .nanoseconds(let nanoseconds) = head.timeout { timeoutNanoseconds = nanoseconds }
  }
}
