import NIOCore
import SkeinCore
import Transport

/// `grpc.testing.TestService` as the interoperability test descriptions define it, on our transport.
enum TestService {
  static let prefix = "/grpc.testing.TestService/"

  /// The handler of a call; nil for what the service does not have.
  static func route(_ call: Call) -> (any CallHandler)? {
    guard call.path.hasPrefix(prefix) else { return nil }
    let shape: TestCall.Shape
    switch call.path.dropFirst(prefix.count) {
    case "EmptyCall": shape = .empty
    case "UnaryCall": shape = .unary
    case "StreamingInputCall": shape = .input
    case "StreamingOutputCall": shape = .output
    case "FullDuplexCall": shape = .duplex
    case "HalfDuplexCall": shape = .halfDuplex
    default: return nil
    }
    return TestCall(call, shape)
  }
}

/// One call of any shape: requests ask for answers, which leave in order.
///
/// Confined to the call's loop; `@unchecked Sendable` for the timer that stands on the same loop.
final class TestCall: CallHandler, @unchecked Sendable {
  enum Shape { case empty, unary, input, output, duplex, halfDuplex }

  private let call: Call
  private let shape: Shape
  private var trailers = Metadata()
  private var messages = 0
  private var inputBytes = 0
  private var answers: [ResponseParameters] = []
  private var held: [ResponseParameters] = []
  private var ended = false
  private var isWaiting = false
  private var isOver = false

  init(_ call: Call, _ shape: Shape) {
    self.call = call
    self.shape = shape
    var initial = Metadata()
    for entry in call.metadata.entries where entry.name == "x-grpc-test-echo-initial" {
      initial.append(entry.name, entry.value)
    }
    for entry in call.metadata.entries where entry.name == "x-grpc-test-echo-trailing-bin" {
      trailers.append(entry.name, entry.value)
    }
    // Not part of the official service: what became of `grpc-timeout`.
    if call.metadata["x-skein-echo-deadline"] != nil {
      let left = call.deadline.map { String(($0 - .now()).nanoseconds / 1_000_000) } ?? "none"
      trailers.append("x-skein-deadline-ms", left)
    }
    if !initial.isEmpty { call.sendHeaders(initial) }
  }

  // MARK: Events

  func received(_ message: SharedBytes) {
    let bytes = message.array
    call.release(message.count)
    messages += 1
    switch shape {
    case .empty: break
    case .input:
      guard let input = Response.input(bytes) else { return refuse() }
      guard isCompressedAsExpected(input.expectCompressed) else { return }
      inputBytes += input.body.count
    case .unary, .output, .duplex, .halfDuplex:
      guard let request = Request(decoding: bytes) else { return refuse() }
      guard isCompressedAsExpected(request.expectCompressed) else { return }
      take(request)
    }
  }

  func receivedEnd() {
    ended = true
    let isSingle = shape == .empty || shape == .unary || shape == .output
    if isSingle, messages != 1 {
      return finish(GRPCStatus(.internal, "\(messages) messages in a call that takes one"))
    }
    switch shape {
    case .empty:
      call.send(OutboundMessage(head: []))
      finish(.ok)
    case .input:
      call.send(OutboundMessage(head: Response.aggregate(inputBytes)))
      finish(.ok)
    case .unary, .output, .duplex, .halfDuplex:
      answers += held
      held = []
      advance()
    }
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { isOver = true }

  func writable() { advance() }

  // MARK: Answers

  private func take(_ request: Request) {
    if let status = request.status, status.code != 0 { return finish(status.status) }
    if request.responseCompressed == true || request.parameters.contains(where: { $0.isCompressed == true }) {
      call.compressWithGzip()
    }
    switch shape {
    case .unary:
      held.append(ResponseParameters(size: request.responseSize, isCompressed: request.responseCompressed))
    case .duplex:
      answers += request.parameters
      advance()
    default: held += request.parameters
    }
  }

  /// False ends the call: the message came compressed, or not, against what it says itself.
  private func isCompressedAsExpected(_ expected: Bool?) -> Bool {
    guard let expected, expected != call.receivedCompressed else { return true }
    finish(GRPCStatus(.invalidArgument, "the message came \(expected ? "un" : "")compressed"))
    return false
  }

  /// Sends what is due, and ends the call after the last answer to the last request.
  private func advance() {
    while !isOver, !isWaiting, call.isWritable, let next = answers.first {
      guard next.microseconds > 0 else {
        send(next)
        continue
      }
      isWaiting = true
      call.eventLoop.scheduleTask(in: .microseconds(Int64(next.microseconds))) {
        self.isWaiting = false
        guard !self.isOver else { return }
        self.send(next)
        self.advance()
      }
    }
    if ended, answers.isEmpty, !isWaiting { finish(.ok) }
  }

  private func send(_ answer: ResponseParameters) {
    if !answers.isEmpty { answers.removeFirst() }
    call.send(OutboundMessage(head: Response.payload(size: answer.size)), plain: answer.isCompressed != true)
  }

  private func refuse() { finish(GRPCStatus(.invalidArgument, "the message is not of the expected type")) }

  private func finish(_ status: GRPCStatus) {
    guard !isOver else { return }
    isOver = true
    call.finish(status, trailers: trailers)
  }
}
