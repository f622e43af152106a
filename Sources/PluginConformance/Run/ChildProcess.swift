import CSkeinShims
import Glibc
import SkeinCore

/// Runs one check in a fresh process and says how that process ended.
///
/// Blocks the calling thread until the child is gone. The child leads a process group of its own, which is killed as
/// a whole when it ends or its time is over, so that nothing it started stays behind in that group.
struct ChildProcess {
  /// The program that enters `ConformanceChild.enterIfAsked`, and what stands before that in its arguments.
  let program: String
  /// The plug-in's bytes, sealed.
  let artifact: Int32

  enum Ending: Sendable, Hashable {
    case exit(Int32)
    case signal(Int32)
    case timeout
  }

  struct Report {
    var ending: Ending
    /// What it wrote to the result pipe, at most `maximumResult`.
    var result: [UInt8]
    /// The beginning of stdout and stderr together, at most `maximumOutput`.
    var output: [UInt8]
    /// All of stdout and stderr.
    var outputBytes: Int
    /// What it was doing last, by its own word.
    var doing: String
  }

  struct SpawnError: Error, CustomStringConvertible { let description: String }

  static let maximumOutput = 256 << 10
  static let maximumResult = 1 << 20
  static let pageSize = 4096

  func run(request: [UInt8], seconds: Double) throws -> Report {
    let question = request.withUnsafeBytes { skein_conformance_sealed("request", $0.baseAddress, $0.count) }
    let page = skein_conformance_page("doing", Self.pageSize)
    guard question >= 0, page >= 0 else {
      throw SpawnError(
        description: "no memory file for the child: \(String(cString: strerror(-min(question, page))))")
    }
    defer {
      close(question)
      close(page)
    }
    let result = try Pipe()
    let output = try Pipe()
    defer {
      result.close()
      output.close()
    }
    let pid = try spawn(
      wiring: [(result.write, 3), (question, 4), (artifact, 5), (page, 6)], output: output.write)
    output.closeWriter()
    result.closeWriter()
    var report = collect(pid: pid, result: result.read, output: output.read, seconds: seconds)
    report.doing = Self.text(of: page)
    return report
  }

  /// Starts the program with `wiring` as its descriptors and the output pipe as stdout and stderr.
  private func spawn(wiring: [(from: Int32, to: Int32)], output: Int32) throws -> pid_t {
    // Out of the way of the numbers that they become.
    var high: [Int32] = []
    defer { for descriptor in high { close(descriptor) } }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    for (from, to) in wiring + [(output, 1), (output, 2)] {
      let copy = fcntl(from, F_DUPFD_CLOEXEC, 64)
      guard copy >= 0 else { throw SpawnError(description: "out of descriptors for the child") }
      high.append(copy)
      posix_spawn_file_actions_adddup2(&actions, copy, to)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var all = sigset_t()
    sigfillset(&all)
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setpgroup(&attributes, 0)
    let flags = POSIX_SPAWN_SETPGROUP | Int32(POSIX_SPAWN_SETSIGDEF) | Int32(POSIX_SPAWN_SETSIGMASK)
    posix_spawnattr_setflags(&attributes, Int16(flags))

    let arguments = [program, ConformanceChild.argument]
    var pid: pid_t = 0
    let code = withCStrings(arguments) { argv in
      // Nothing of the caller's environment: a check gives the same result on every machine.
      withCStrings(["PATH=/usr/bin:/bin", "LC_ALL=C"]) { environment in
        posix_spawn(&pid, program, &actions, &attributes, argv, environment)
      }
    }
    guard code == 0 else {
      throw SpawnError(description: "cannot start \(program): \(String(cString: strerror(code)))")
    }
    return pid
  }

  private func withCStrings<R>(
    _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> R
  ) -> R {
    var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
  }

  /// Reads both pipes until the child is gone or its time is over.
  private func collect(pid: pid_t, result: Int32, output: Int32, seconds: Double) -> Report {
    var report = Report(ending: .timeout, result: [], output: [], outputBytes: 0, doing: "")
    let end = Monotonic.now() &+ UInt64(seconds * 1e9)
    var status: Int32 = 0
    while true {
      var polled = [
        pollfd(fd: result, events: Int16(POLLIN), revents: 0),
        pollfd(fd: output, events: Int16(POLLIN), revents: 0),
      ]
      // Also wakes every 20 ms: a pipe that a grandchild holds open never ends.
      poll(&polled, 2, 20)
      drain(result, output, into: &report)
      if waitpid(pid, &status, WNOHANG) == pid {
        report.ending = Self.ending(status)
        break
      }
      if Monotonic.now() >= end {
        kill(-pid, SIGKILL)
        kill(pid, SIGKILL)
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        break
      }
    }
    kill(-pid, SIGKILL)
    drain(result, output, into: &report)
    return report
  }

  private func drain(_ result: Int32, _ output: Int32, into report: inout Report) {
    _ = read(result, into: &report.result, limit: Self.maximumResult)
    report.outputBytes += read(output, into: &report.output, limit: Self.maximumOutput)
  }

  /// Takes what is there, at most 16 MiB at a time; keeps the first `limit` bytes of it.
  private func read(_ descriptor: Int32, into kept: inout [UInt8], limit: Int) -> Int {
    var total = 0
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while total < 16 << 20 {
      let count = Glibc.read(descriptor, &buffer, buffer.count)
      guard count > 0 else { break }
      total += count
      kept += buffer[..<min(count, max(0, limit - kept.count))]
    }
    return total
  }

  private static func ending(_ status: Int32) -> Ending {
    let signal = status & 0x7f
    return signal == 0 ? .exit((status >> 8) & 0xff) : .signal(signal)
  }

  private static func text(of page: Int32) -> String {
    var bytes = [UInt8](repeating: 0, count: pageSize)
    guard lseek(page, 0, SEEK_SET) == 0 else { return "" }
    let count = Glibc.read(page, &bytes, bytes.count)
    return String(decoding: bytes.prefix(max(0, count)).prefix { $0 != 0 }, as: UTF8.self)
  }
}

/// Two ends, the reading one never blocking.
private final class Pipe {
  private(set) var read: Int32
  private(set) var write: Int32

  init() throws {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else {
      throw ChildProcess.SpawnError(description: "out of descriptors for the child")
    }
    (read, write) = (ends[0], ends[1])
    _ = fcntl(read, F_SETFD, FD_CLOEXEC)
    _ = fcntl(write, F_SETFD, FD_CLOEXEC)
    _ = fcntl(read, F_SETFL, O_NONBLOCK)
  }

  func closeWriter() {
    guard write >= 0 else { return }
    Glibc.close(write)
    write = -1
  }

  func close() {
    closeWriter()
    guard read >= 0 else { return }
    Glibc.close(read)
    read = -1
  }
}

enum Monotonic {
  /// Nanoseconds of CLOCK_MONOTONIC.
  static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

/// Names of signals that end a process, as people know them.
enum SignalName {
  static func of(_ number: Int32) -> String {
    let names: [Int32: String] = [
      SIGSEGV: "SIGSEGV", SIGABRT: "SIGABRT", SIGILL: "SIGILL", SIGBUS: "SIGBUS", SIGFPE: "SIGFPE",
      SIGKILL: "SIGKILL", SIGTRAP: "SIGTRAP", SIGPIPE: "SIGPIPE", SIGTERM: "SIGTERM", SIGXCPU: "SIGXCPU",
      SIGSYS: "SIGSYS", SIGALRM: "SIGALRM", SIGHUP: "SIGHUP", SIGINT: "SIGINT",
    ]
    return names[number] ?? "signal \(number)"
  }
}
