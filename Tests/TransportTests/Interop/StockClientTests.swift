import Foundation
import SkeinCore
import Testing

@testable import Transport

/// Python's grpcio as it comes, against our server. Skipped only where there is no Python with grpcio;
/// CI makes one with `Tests/interop/run.sh`.
@Suite struct StockClientTests {
  /// `SKEIN_PYTHON`, the interop suite's environment, or the system's Python: the first with grpcio.
  static let python: String? = {
    let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let candidates = [
      ProcessInfo.processInfo.environment["SKEIN_PYTHON"], root.path + "/.interop/venv/bin/python",
      "/usr/bin/python3", "/usr/local/bin/python3",
    ]
    return candidates.compactMap { $0 }.first { path in
      FileManager.default.isExecutableFile(atPath: path) && run(path, ["-c", "import grpc"]).status == 0
    }
  }()

  @Test(.enabled(if: python != nil, "no Python with grpcio")) func everythingAStockClientDoes() async throws {
    let server = try await TestServer.start()
    let script = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent()
      .appendingPathComponent("stock_client.py").path
    let python = try #require(Self.python)
    let folder = TestCertificates.shared.folder
    let port = server.port
    let result = await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        continuation.resume(returning: Self.run(python, [script, "\(port)", folder]))
      }
    }
    #expect(result.status == 0, "\(result.output)")
    #expect(result.output.hasSuffix("all ok\n"), "\(result.output)")
    let words = server.events.all.filter { $0.kind == .handshakeFailed }.map(\.detail)
    #expect(words.contains { $0.contains("gave no certificate") })
    #expect(words.contains { $0.contains("not trusted") })
    #expect(words.contains { $0.contains("has expired") })
    await server.server.close()
  }

  static func run(_ path: String, _ arguments: [String]) -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    guard (try? process.run()) != nil else { return (-1, "") }
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
  }
}
