import Foundation
import Testing
import Transport

@testable import Broker
@testable import SkeinClient

/// The SDK and the command line with a token instead of a certificate.
@Suite(.serialized) struct TokenClientTests {
  private static func start() async throws -> (TestBroker, TestAuthenticators) {
    let authenticators = TestAuthenticators()
    let test = try await TestBroker.start {
      $0.tokenListener = TokenListenerConfiguration(
        host: "127.0.0.1", port: 0, authenticator: "test.tokens@1.0.0")
      $0.authenticatorSource = authenticators
    }
    return (test, authenticators)
  }

  private static func client(_ test: TestBroker, _ token: BearerToken) throws -> Client {
    var configuration = ClientConfiguration(
      address: "127.0.0.1:\(test.tokenPort)", ca: PEM(test.issuer.trustRoots), token: token)
    configuration.unreachableTimeout = .seconds(20)
    return try Client(configuration)
  }

  @Test func producesAndReadsWithoutACertificate() async throws {
    let (test, _) = try await Self.start()
    let admin = try test.client()
    try await admin.admin.createTopic("t", partitions: 2)
    let made = try await admin.admin.createToken(principal: "orders", lifetime: .seconds(3_600), note: "n")
    #expect(try await admin.admin.listTokens() == [made.info])
    let client = try Self.client(test, .value(made.secret))
    #expect(try await client.admin.describeCluster().principal == "orders")
    try await client.withProducer { producer in
      let topic = try await producer.topic("t")
      for index in 0..<100 { _ = try await topic.send(key: bytes("\(index)"), value: bytes("v\(index)")) }
    }
    let reader = try await client.reader(topic: "t", from: .beginning, toTheEnd)
    #expect(try await reader.all().count == 100)
    await client.close()
    for wrong in ["skein_x_y", made.secret + "0"] {
      let stranger = try Self.client(test, .value(wrong))
      await expect(reason: "TOKEN_INVALID") { _ = try await stranger.admin.describeCluster() }
      await expect(reason: "TOKEN_INVALID") { _ = try await stranger.producer() }
      await stranger.close()
    }
    for bad in ["", "two words", "line\nbreak"] {
      await expect(reason: "INVALID_REQUEST") { _ = try Self.client(test, .value(bad)) }
    }
    try await admin.admin.revokeToken(made.info.id)
    await expect(reason: "TOKEN_NOT_FOUND") { try await admin.admin.revokeToken(made.info.id) }
    await admin.close()
    await test.remove()
  }

  /// The file gets the second token, then the first is revoked: a running producer sends on without an error.
  @Test func theFileIsReplacedWhileItIsUsed() async throws {
    let (test, _) = try await Self.start()
    let admin = try test.client()
    try await admin.admin.createTopic("t", partitions: 1)
    let file = test.folder.appendingPathComponent("token")
    await expect(reason: "INVALID_REQUEST") {
      let early = try Self.client(test, .file(file.path))
      _ = try await early.admin.describeCluster()
    }
    var current = try await admin.admin.createToken(principal: "orders")
    try Data((current.secret + "\n").utf8).write(to: file, options: .atomic)
    let client = try Self.client(test, .file(file.path))
    let producer = try await client.producer()
    let topic = try await producer.topic("t")
    for round in 0..<3 {
      for index in 0..<20 { _ = try await topic.send(key: nil, value: bytes("\(round) \(index)")) }
      #expect(try await client.admin.describeCluster().principal == "orders")
      let next = try await admin.admin.createToken(principal: "orders")
      try Data(next.secret.utf8).write(to: file, options: .atomic)
      try await admin.admin.revokeToken(current.info.id)
      current = next
      for index in 20..<40 { _ = try await topic.send(key: nil, value: bytes("\(round) \(index)")) }
      #expect(try await client.admin.describeCluster().principal == "orders")
    }
    try await producer.close()
    let reader = try await client.reader(topic: "t", from: .beginning, toTheEnd)
    let values = try await reader.all().map { text($0.value) }
    #expect(values == (0..<3).flatMap { round in (0..<40).map { "\(round) \($0)" } }, "each once, in order")
    await client.close()
    await admin.close()
    await test.remove()
  }

  @Test func tokensPrintAsNothing() throws {
    let secret = "skein_0123456789abcdef_canary"
    let token = BearerToken.value(secret)
    let issued = IssuedToken(
      info: TokenInfo(id: "1", principal: "p", created: 0, expires: 0, createdBy: "", note: ""),
      secret: secret)
    var configuration = ClientConfiguration(address: "localhost:1", ca: .bytes([]), token: token)
    configuration.token = token
    var dumped = ""
    dump(configuration, to: &dumped)
    dump(issued, to: &dumped)
    for text in [
      dumped, "\(token)", String(reflecting: token), "\(configuration)", "\(issued)",
      String(reflecting: issued),
    ] {
      #expect(!text.contains("canary"), "\(text)")
    }
  }

  /// The token alone on stdout, once; everything else on stderr.
  @Test func commands() async throws {
    let (test, _) = try await Self.start()
    let command = try SkeinCommand(test)
    #expect(try command.run("topic", "create", "t").code == 0)
    let made = try command.run("token", "create", "orders", "--lifetime", "2h", "--note", "nightly")
    #expect(made.code == 0 && made.notes.contains("orders") && !made.notes.contains("_"), "\(made.notes)")
    let token = made.output.trimmingCharacters(in: .newlines)
    #expect(token.count == 87 && made.output == token + "\n")
    let json = try command.run("--output", "json", "token", "create", "orders")
    #expect(json.output.hasPrefix(#"{"token":"skein_"#) && json.output.contains(#""principal":"orders""#))
    #expect(try command.run("token", "create", "orders").code == 1)
    #expect(try command.run("token", "create", "orders", "--lifetime", "soon").code == 2)
    let file = test.folder.appendingPathComponent("orders.token").path
    try Data(made.output.utf8).write(to: URL(fileURLWithPath: file))
    let address = "127.0.0.1:\(test.tokenPort)"
    let produced = try command.run(
      "--token-file", file, "produce", "t", "--address", address, input: "a\nb\n")
    #expect(produced.code == 0, "\(produced.notes)")
    #expect(
      try command.run("consume", "t", "--token-file", file, "--address", address).output == "a\nb\n")
    // A context without a certificate.
    #expect(
      try command.run(
        "context", "set", "tokens", "--address", address, "--ca", command.ca, "--token-file", file
      ).code == 0)
    let shown = try command.run("context", "show", "tokens")
    #expect(shown.output.contains(file) && !shown.output.contains(token))
    let described = try command.run("--context", "tokens", "--output", "json", "topic", "list")
    #expect(described.code == 0 && described.output.contains("\"t\""), "\(described.notes)")
    #expect(try command.run("--context", "tokens", "token", "list").code == 3)
    let listed = try command.run("token", "list")
    #expect(listed.output.contains("nightly") && !listed.output.contains(token.suffix(40)))
    let id = String(token.split(separator: "_")[1])
    #expect(try command.run("token", "revoke", id).code == 0)
    let refused = try command.run("--context", "tokens", "topic", "list")
    #expect(refused.code == 3 && refused.notes.contains("TOKEN_INVALID"), "\(refused.notes)")
    #expect(!refused.notes.contains(token.suffix(40)))
    await test.remove()
  }
}

/// The program that was built beside this test bundle, with a context of the administrator.
private struct SkeinCommand {
  struct Result {
    let code: Int32
    let output: String
    let notes: String
  }
  let folder: URL
  var ca: String { folder.appendingPathComponent("ca.pem").path }

  init(_ broker: TestBroker) throws {
    folder = broker.folder.appendingPathComponent("cli")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let tls = try broker.issuer.client("admin")
    for (file, source) in [
      ("ca.pem", tls.trustRoots), ("client.pem", tls.certificateChain), ("client.key", tls.privateKey),
    ] {
      guard case .bytes(let bytes)? = source else { continue }
      try Data(bytes).write(to: folder.appendingPathComponent(file))
    }
    let text = """
      address: "127.0.0.1:\(broker.port)"
      ca: ca.pem
      certificate: client.pem
      key: client.key
      """
    try Data(text.utf8).write(to: folder.appendingPathComponent("context.yaml"))
  }

  func run(_ arguments: String..., input: String = "") throws -> Result {
    let files = ["in", "out", "err"].map { folder.appendingPathComponent("\($0)-\(UUID().uuidString)") }
    try Data(input.utf8).write(to: files[0])
    for file in files.dropFirst() { try Data().write(to: file) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
      .deletingLastPathComponent().appendingPathComponent("skein")
    process.arguments = arguments
    process.environment = [
      "SKEIN_CONTEXT": folder.appendingPathComponent("context.yaml").path, "HOME": folder.path,
    ]
    process.standardInput = try FileHandle(forReadingFrom: files[0])
    process.standardOutput = try FileHandle(forWritingTo: files[1])
    process.standardError = try FileHandle(forWritingTo: files[2])
    try process.run()
    process.waitUntilExit()
    return Result(
      code: process.terminationStatus, output: try String(contentsOf: files[1], encoding: .utf8),
      notes: try String(contentsOf: files[2], encoding: .utf8))
  }
}
