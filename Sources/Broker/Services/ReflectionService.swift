import NIOCore
import SkeinCore
import Transport
import Wire

/// `grpc.reflection.v1.ServerReflection`, and `v1alpha` with the same messages: the contract that this
/// broker was built from, for grpcurl and its like.
struct ReflectionService: Sendable {
  static let names: Set<String> = [
    "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
  ]

  /// - Parameter services: those that are served, by full name.
  let services: Set<String>

  func handler(method: String, call: Call) -> (any CallHandler)? {
    method == "ServerReflectionInfo" ? ReflectionHandler(call, services: services) : nil
  }
}

/// What is asked for by name.
private enum ReflectionIndex {
  static let byName: [String: DescriptorFile] = Dictionary(
    DescriptorSet.files.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
  static let bySymbol: [String: DescriptorFile] = Dictionary(
    DescriptorSet.files.flatMap { file in file.symbols.map { ($0, file) } },
    uniquingKeysWith: { first, _ in first })
  static let messages = Set(DescriptorSet.files.flatMap(\.messages))

  /// The file, then everything that it imports, each once.
  static func closure(of file: DescriptorFile) -> [[UInt8]] {
    var seen: Set<String> = []
    var found: [[UInt8]] = []
    var waiting = [file]
    while let next = waiting.popLast() {
      guard seen.insert(next.name).inserted else { continue }
      found.append(next.bytes)
      waiting += next.imports.compactMap { byName[$0] }
    }
    return found
  }
}

/// One ServerReflectionInfo. Answers only while the connection takes data: answers are a hundred times as
/// long as questions, and who does not read them may not pile them up. Confined to the connection's loop.
private final class ReflectionHandler: CallHandler {
  static let maximumQuestionBytes = 4_096
  /// Questions that may wait for a client to read the answers before them; their credit is held too.
  static let maximumWaiting = 4_096

  private let call: Call
  private let services: Set<String>
  private var waiting = CircularBuffer<SharedBytes>()
  private var ended = false
  private var isClosed = false

  init(_ call: Call, services: Set<String>) {
    self.call = call
    self.services = services
  }

  func received(_ message: SharedBytes) {
    guard !isClosed else { return call.release(message.count) }
    guard message.count <= Self.maximumQuestionBytes else {
      return fail(
        Fault(
          .invalidRequest,
          "a reflection request has at most \(Self.maximumQuestionBytes) bytes; this one has \(message.count)",
          metadata: ["limit": String(Self.maximumQuestionBytes)]))
    }
    guard waiting.count < Self.maximumWaiting else {
      return fail(
        Fault(
          .overloaded,
          "\(Self.maximumWaiting) reflection requests wait for their answers to be read; read them",
          metadata: ["limit": String(Self.maximumWaiting)], retryAfterMilliseconds: 1_000))
    }
    waiting.append(message)
    pump()
  }

  func receivedEnd() {
    ended = true
    pump()
  }

  func writable() { pump() }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    isClosed = true
    waiting.removeAll()
  }

  private func pump() {
    guard !isClosed else { return }
    while call.isWritable, let message = waiting.popFirst() {
      do throws(Fault) {
        let request = try ServerReflectionRequest(decoding: message)
        call.send(OutboundMessage(head: answer(request).encoded()))
        call.release(message.count)
      } catch {
        return fail(error)
      }
    }
    if ended, waiting.isEmpty {
      isClosed = true
      call.finish(.ok)
    }
  }

  private func fail(_ fault: Fault) {
    isClosed = true
    waiting.removeAll()
    call.finish(GRPCStatus(fault))
  }

  // MARK: Answers

  private func answer(_ request: ServerReflectionRequest) -> ServerReflectionResponse {
    var response = ServerReflectionResponse(validHost: request.host, originalRequest: request)
    switch request.messageRequest {
    case .fileByFilename(let name): response.messageResponse = files(ReflectionIndex.byName[name], name)
    case .fileContainingSymbol(let name):
      // Some clients write the leading dot of a fully-qualified name.
      let plain = name.hasPrefix(".") ? String(name.dropFirst()) : name
      response.messageResponse = files(ReflectionIndex.bySymbol[plain], name)
    case .fileContainingExtension(let wanted):
      response.messageResponse = notFound(
        "an extension \(wanted.extensionNumber) of \(wanted.containingType)")
    case .allExtensionNumbersOfType(let name):
      response.messageResponse =
        ReflectionIndex.messages.contains(name)
        ? .allExtensionNumbersResponse(ExtensionNumberResponse(baseTypeName: name)) : notFound(name)
    case .listServices:
      let names = services.union(["grpc.reflection.v1.ServerReflection"]).sorted()
      response.messageResponse = .listServicesResponse(
        ListServiceResponse(service: names.map { ServiceResponse(name: $0) }))
    case nil:
      response.messageResponse = .errorResponse(
        ErrorResponse(
          errorCode: StatusCode.invalidArgument.rawValue,
          errorMessage: "the request asks nothing; set one field"))
    }
    return response
  }

  private func files(
    _ file: DescriptorFile?, _ name: String
  ) -> ServerReflectionResponse.MessageResponse {
    guard let file else { return notFound(name) }
    return .fileDescriptorResponse(
      FileDescriptorResponse(fileDescriptorProto: ReflectionIndex.closure(of: file)))
  }

  private func notFound(_ what: String) -> ServerReflectionResponse.MessageResponse {
    .errorResponse(
      ErrorResponse(
        errorCode: StatusCode.notFound.rawValue,
        errorMessage: "\(what.displayable) is not part of the contract"))
  }
}
