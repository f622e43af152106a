import Foundation
import SkeinClient
import Testing
import Transport

/// `skein` as a process against a real broker: data through pipes, JSON on stdout alone, exit codes.
@Suite(.serialized) struct ClientCommandLineTests {
  private struct Result {
    let code: Int32
    let output: String
    let notes: String
  }

  /// Runs the program that was built beside this test bundle.
  private func skein(
    _ arguments: [String], context: String, input: String = "", in folder: URL
  ) throws -> Result {
    let files = ["in", "out", "err"].map { folder.appendingPathComponent("\($0)-\(UUID().uuidString)") }
    try Data(input.utf8).write(to: files[0])
    for file in files.dropFirst() { try Data().write(to: file) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      .appendingPathComponent("skein")
    process.arguments = arguments
    process.environment = ["SKEIN_CONTEXT": context, "HOME": folder.path]
    process.standardInput = try FileHandle(forReadingFrom: files[0])
    process.standardOutput = try FileHandle(forWritingTo: files[1])
    process.standardError = try FileHandle(forWritingTo: files[2])
    try process.run()
    process.waitUntilExit()
    return Result(
      code: process.terminationStatus, output: try String(contentsOf: files[1], encoding: .utf8),
      notes: try String(contentsOf: files[2], encoding: .utf8))
  }

  /// A context file with the certificates of `name` beside it.
  private func context(_ broker: TestBroker, _ name: String) throws -> String {
    let tls = try broker.issuer.client(name)
    let folder = broker.folder.appendingPathComponent("cli-\(name)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for (file, source) in [
      ("ca.pem", tls.trustRoots), ("client.pem", tls.certificateChain), ("client.key", tls.privateKey),
    ] {
      if case .bytes(let bytes)? = source {
        try Data(bytes).write(to: folder.appendingPathComponent(file))
      }
    }
    let text = """
      address: "127.0.0.1:\(broker.port)"
      ca: ca.pem
      certificate: client.pem
      key: client.key
      tenant: default
      """
    let path = folder.appendingPathComponent("context.yaml")
    try Data(text.utf8).write(to: path)
    return path.path
  }

  @Test func linesGoInAndComeOutAsTheyWere() async throws {
    let broker = try await TestBroker.start()
    let admin = try context(broker, "admin")
    func run(_ arguments: String..., input: String = "") throws -> Result {
      try skein(arguments, context: admin, input: input, in: broker.folder)
    }
    #expect(
      try run("topic", "create", "t", "--partitions", "3", "--output", "json").output.contains(
        "\"topic_id\":"))
    #expect(try run("topic", "create", "t").code == 1)

    let lines = (0..<500).map { "key\($0 % 7):value \($0)" }
    let produced = try run(
      "--output", "json", "produce", "t", "--key-separator", ":", "--compression", "zstd", "--header", "a=b",
      input: lines.joined(separator: "\n"))
    #expect(produced.code == 0)
    #expect(produced.output.hasPrefix(#"{"topic":"t","records":500,"failed":0,"#))

    let consumed = try run("consume", "t", "--format", "key-value")
    #expect(consumed.code == 0 && consumed.notes.isEmpty)
    let found = consumed.output.split(separator: "\n").map { $0.replacingOccurrences(of: "\t", with: ":") }
    #expect(found.sorted() == lines.sorted())
    for key in 0..<7 {
      // Order per key is the order of the input.
      let of = { (all: [String]) in all.filter { $0.hasPrefix("key\(key):") } }
      #expect(of(found) == of(lines))
    }
    let json = try run("consume", "t", "--format", "json", "--max", "1").output
    #expect(json.contains(#""headers":[{"name":"a","value":"b"}]"#) && json.split(separator: "\n").count == 1)

    let bench = try run(
      "bench", "produce", "--topic", "b", "--partitions", "2", "--records", "1000", "--size", "100", "--json")
    let keys = try JSONSerialization.jsonObject(with: Data(bench.output.utf8)) as? [String: Any]
    #expect(
      Set(keys?.keys.map { $0 } ?? []) == [
        "records", "bytes", "seconds", "records_per_second", "megabytes_per_second", "latency_us",
      ])
    #expect(
      Set((keys?["latency_us"] as? [String: Any])?.keys.map { $0 } ?? []) == [
        "p50", "p90", "p99", "p999", "p9999", "max",
      ])
    #expect(try run("bench", "consume", "--topic", "b", "--json").output.contains("\"records\":1000"))
    await broker.remove()
  }

  @Test func refusalsHaveTheirExitCodes() async throws {
    let broker = try await TestBroker.start()
    let admin = try context(broker, "admin")
    let missing = try skein(["consume", "nope"], context: admin, in: broker.folder)
    #expect(missing.code == 1 && missing.output.isEmpty && missing.notes.contains("TOPIC_NOT_FOUND"))
    let stranger = try context(broker, "stranger")
    let refused = try skein(["topic", "list"], context: stranger, in: broker.folder)
    #expect(refused.code == 3, "\(refused.notes)")
    await broker.stop()
    let gone = try skein(["topic", "list", "--connect-timeout", "1"], context: admin, in: broker.folder)
    #expect(gone.code == 4, "\(gone.notes)")
    try FileManager.default.removeItem(at: broker.folder)
  }
}
