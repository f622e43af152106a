import Foundation

/// The real broker as a child process: started, killed without mercy, started again on its port.
struct BrokerProcess {
  private let program: String
  private let variables: [String: String]
  private let folder: String
  let log: String
  private var process: Process?
  private(set) var address = ""

  init(_ program: String, variables: [String: String], folder: String, log: String) {
    self.program = program
    self.variables = variables
    self.folder = folder
    self.log = log
  }

  /// Starts it and waits for its ready line.
  mutating func start() async throws {
    try launch()
    let deadline = ContinuousClock.now + .seconds(60)
    while true {
      let text = (try? String(contentsOfFile: output, encoding: .utf8)) ?? ""
      if let ready = text.split(separator: "\n").first(where: { $0.hasPrefix("skeind ready") }),
        let field = ready.split(separator: " ").first(where: { $0.hasPrefix("grpc=") })
      {
        address = String(field.dropFirst("grpc=".count))
        return
      }
      guard process?.isRunning == true else {
        throw TrialFailure("the broker ended while starting; see \(log)")
      }
      guard ContinuousClock.now < deadline else {
        throw TrialFailure("no ready line within 60 s; see \(log)")
      }
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  /// Starts it without waiting. The first time it chooses a port, later it gets the same again.
  mutating func launch() throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = [
      "--dev", folder, "--listen", address.isEmpty ? "127.0.0.1:0" : address, "--operations", "127.0.0.1:0",
    ]
    process.environment = variables
    process.standardOutput = try Self.writing(output, truncating: true)
    process.standardError = try Self.writing(log, truncating: false)
    try process.run()
    self.process = process
    // For run.sh, should this driver be killed itself.
    try String(process.processIdentifier).write(toFile: log + ".pid", atomically: true, encoding: .utf8)
  }

  /// SIGKILL, and waits until the process is gone.
  mutating func kill() async throws {
    guard let process, process.isRunning else { throw TrialFailure("the broker was not running; see \(log)") }
    Foundation.kill(process.processIdentifier, SIGKILL)
    _ = await waitForEnd(process)
  }

  /// SIGTERM; a drained broker ends with 0.
  mutating func terminate() async throws {
    guard let process else { return }
    process.terminate()
    let status = await waitForEnd(process)
    guard status == 0 else { throw TrialFailure("the broker ended with \(status) after SIGTERM; see \(log)") }
  }

  /// SIGHUP; returns when its log says that the certificates were loaded.
  func reloadCertificates() async throws {
    guard let process else { return }
    let before = reloads
    Foundation.kill(process.processIdentifier, SIGHUP)
    let deadline = ContinuousClock.now + .seconds(20)
    while reloads == before {
      guard ContinuousClock.now < deadline else {
        throw TrialFailure("the certificates were not reloaded within 20 s of SIGHUP; see \(log)")
      }
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  private var reloads: Int {
    let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
    return text.split(separator: "\n").count { $0.contains("certificates reloaded") }
  }

  /// How it ended by itself; nil while it runs.
  var ending: String? {
    guard let process, !process.isRunning else { return nil }
    return "\(process.terminationReason == .exit ? "exit code" : "signal") \(process.terminationStatus)"
  }

  /// On the way out of a trial that failed: leaves no process behind.
  func abandon() {
    if let process, process.isRunning { Foundation.kill(process.processIdentifier, SIGKILL) }
  }

  private var output: String { log + ".ready" }

  private static func writing(_ path: String, truncating: Bool) throws -> FileHandle {
    if truncating || !FileManager.default.fileExists(atPath: path) {
      _ = FileManager.default.createFile(atPath: path, contents: nil)
    }
    guard let handle = FileHandle(forWritingAtPath: path) else { throw TrialFailure("cannot write \(path)") }
    try handle.seekToEnd()
    return handle
  }
}

/// Waits off the cooperative threads.
func waitForEnd(_ process: Process) async -> Int32 {
  while process.isRunning { try? await Task.sleep(for: .milliseconds(2)) }
  return process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
}

func runToEnd(_ program: String, _ arguments: [String], environment: [String: String]) async throws -> Int32 {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: program)
  process.arguments = arguments
  process.environment = environment
  try process.run()
  return await waitForEnd(process)
}
