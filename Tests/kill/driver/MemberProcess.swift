import Foundation

/// A member of the group as a process of its own: this program again, with `member`.
final class MemberProcess {
  /// Never used again: a replacement has another.
  let number: Int
  private let process = Process()
  private var reader: MemberLogReader
  private(set) var events: [MemberEvent] = []
  /// When it was stopped or killed: what it had then, somebody else gets.
  private(set) var faults: [Int64] = []
  private(set) var isStopped = false

  init(_ number: Int, folder: String, arguments: [String]) throws {
    self.number = number
    let log = "\(folder)/member-\(number).log"
    reader = MemberLogReader(log)
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = ["member", "--log", log, "--name", "member-\(number)"] + arguments
    let errors = "\(folder)/member-\(number).err"
    _ = FileManager.default.createFile(atPath: errors, contents: nil)
    process.standardError = FileHandle(forWritingAtPath: errors)
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    // For run.sh, should this driver be killed itself.
    try String(process.processIdentifier).write(toFile: log + ".pid", atomically: true, encoding: .utf8)
  }

  var isRunning: Bool { process.isRunning }
  /// It runs, and was not stopped.
  var isActive: Bool { process.isRunning && !isStopped }

  /// What its log says since the last time.
  func refresh() throws -> [MemberEvent] {
    let new = try reader.next()
    events += new
    return new
  }

  func kill() async {
    faults.append(monotonicNanoseconds())
    Foundation.kill(process.processIdentifier, SIGKILL)
    _ = await waitForEnd(process)
  }

  func stop() {
    faults.append(monotonicNanoseconds())
    isStopped = true
    Foundation.kill(process.processIdentifier, SIGSTOP)
  }

  func resume() {
    isStopped = false
    Foundation.kill(process.processIdentifier, SIGCONT)
  }

  func leave() { process.terminate() }

  /// - Throws: when it did not end with 0.
  func end() async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while process.isRunning {
      guard ContinuousClock.now < deadline else {
        throw TrialFailure("member \(number) did not end within 30 s of SIGTERM")
      }
      try await Task.sleep(for: .milliseconds(5))
    }
    guard process.terminationReason == .exit, process.terminationStatus == 0 else {
      throw TrialFailure(
        "member \(number) ended with \(process.terminationReason == .exit ? "exit code" : "signal") \(process.terminationStatus); see its .err"
      )
    }
  }

  /// On the way out: leaves no process behind, not even a stopped one.
  func abandon() { if process.isRunning { Foundation.kill(process.processIdentifier, SIGKILL) } }
}
