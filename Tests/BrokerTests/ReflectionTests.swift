import Broker
import SkeinCore
import Testing
import Transport
import Wire

/// The reflection service; Tests/interop asks it with stock clients.
@Suite(.serialized) struct ReflectionTests {
  private typealias Client = StreamClient<ServerReflectionRequest, ServerReflectionResponse>

  @Test func theContractIsServed() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    for version in ["v1", "v1alpha"] {
      let stream = try await Client.open(
        "/grpc.reflection.\(version).ServerReflection/ServerReflectionInfo", on: connection)
      func ask(_ question: ServerReflectionRequest.MessageRequest?) async throws -> ServerReflectionResponse {
        let request = ServerReflectionRequest(host: "h", messageRequest: question)
        try await stream.send(request)
        let answer = try #require(try await stream.next())
        #expect(answer.originalRequest == request && answer.validHost == "h")
        return answer
      }
      func names(_ answer: ServerReflectionResponse) -> [String]? {
        guard case .fileDescriptorResponse(let files) = answer.messageResponse else { return nil }
        let known = Dictionary(uniqueKeysWithValues: DescriptorSet.files.map { ($0.bytes, $0.name) })
        return files.fileDescriptorProto.map { known[$0] ?? "?" }
      }
      func code(_ answer: ServerReflectionResponse) -> Int32? {
        guard case .errorResponse(let error) = answer.messageResponse else { return nil }
        return error.errorCode
      }

      guard case .listServicesResponse(let list) = try await ask(.listServices("")).messageResponse else {
        Issue.record("no list")
        return
      }
      #expect(
        list.service.map(\.name) == [
          "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "skein.v1.Access",
          "skein.v1.Cluster",
          "skein.v1.Consumer", "skein.v1.Groups", "skein.v1.Plugins", "skein.v1.Producer", "skein.v1.Topics",
        ])
      let topics = try #require(names(try await ask(.fileByFilename("skein/v1/topics.proto"))))
      #expect(topics.first == "skein/v1/topics.proto")
      #expect(
        Set(topics.dropFirst()) == ["google/rpc/status.proto", "google/protobuf/any.proto"])
      let symbols = [
        "skein.v1.Producer": "producer", "skein.v1.Producer.Publish": "producer",
        "skein.v1.Acks": "records", "skein.v1.ACKS_ALL": "records", "skein.v1.Record.partition": "records",
        "skein.v1.Record.key_presence": "records", ".skein.v1.UpdateTopicRequest.SetEntry": "topics",
      ]
      for (symbol, file) in symbols {
        #expect(
          names(try await ask(.fileContainingSymbol(symbol)))?.first == "skein/v1/\(file).proto", "\(symbol)")
      }
      #expect(names(try await ask(.fileContainingSymbol("google.rpc.BadRequest.FieldViolation"))) != nil)
      for hidden in ["etcdserverpb.KV", "skein.internal.v1.TopicRecord", "skein.v1.Nothing", ""] {
        #expect(code(try await ask(.fileContainingSymbol(hidden))) == 5, "\(hidden)")
      }
      #expect(code(try await ask(.fileByFilename("etcd/rpc.proto"))) == 5)
      let ext = ExtensionRequest(containingType: "skein.v1.Record", extensionNumber: 100)
      #expect(code(try await ask(.fileContainingExtension(ext))) == 5)
      #expect(code(try await ask(.allExtensionNumbersOfType("skein.v1.Moon"))) == 5)
      let none = try await ask(.allExtensionNumbersOfType("skein.v1.Record"))
      #expect(
        none.messageResponse
          == .allExtensionNumbersResponse(ExtensionNumberResponse(baseTypeName: "skein.v1.Record")))
      #expect(code(try await ask(nil)) == 3)
      try await stream.sendEnd()
      #expect(try await stream.status().code == .ok)
    }
    await connection.close()
    await test.remove()
  }

  /// A question has a bound; many of them wait for the answers before them to be read.
  @Test func questionsAreBounded() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    let large = try await Client.open(path, on: connection)
    try await large.send(
      ServerReflectionRequest(messageRequest: .fileByFilename(String(repeating: "x", count: 5_000))))
    #expect(try await large.fault().reason == .invalidRequest)
    // Asked all at once, answered one after the other as they are read.
    let many = try await Client.open(path, on: connection)
    for number in 0..<300 {
      try await many.send(
        ServerReflectionRequest(host: "\(number)", messageRequest: .fileByFilename("skein/v1/cluster.proto")))
    }
    for number in 0..<300 {
      #expect(try await many.next()?.validHost == "\(number)")
    }
    try await many.sendEnd()
    #expect(try await many.status().code == .ok)
    await connection.close()
    await test.remove()
  }
}
