import CSkeinShims
import Glibc
import PluginABI
import SkeinCore
import Synchronization

/// One thread for what blocks: starting, killing and burying children, reading /proc, loading into the broker, writing
/// quarantine files. Jobs run in their order.
///
/// Children are started here because the kernel takes the thread that started a child for its parent: the child asks to
/// be killed when its parent ends, so that thread must live as long as the broker.
final class Supervisor: Sendable {
  private struct Job: Sendable { let run: @Sendable () -> Void }
  private let jobs = Mutex<[Job]>([])
  private let signal = ThreadSignal()

  init() throws(Fault) {
    let signal = signal
    let result = ThreadSignal.thread { [weak self] in
      while true {
        signal.wait()
        guard let self, self.runNext() else { return }
      }
    }
    guard result == 0 else {
      throw Fault(
        .overloaded, "no thread for plug-ins: \(systemText(result)); check the limits of the process")
    }
  }

  deinit { signal.raise() }

  func run(_ job: @escaping @Sendable () -> Void) {
    jobs.withLock { $0.append(Job(run: job)) }
    signal.raise()
  }

  /// Runs a job and waits for its result.
  func result<T: Sendable>(_ job: @escaping @Sendable () -> T) async -> T {
    await withCheckedContinuation { continuation in
      run { continuation.resume(returning: job()) }
    }
  }

  /// - Returns: false at the end.
  private func runNext() -> Bool {
    guard let job = jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else { return false }
    job.run()
    return true
  }
}

/// A started child: its socket, what it prints, its number.
struct SpawnedChild: Sendable {
  let socket: Int32
  let errors: Int32
  let pid: Int32
  let startedAt: Int64

  struct Failure: Error, Sendable {
    let text: String
  }

  /// Blocks; on the supervisor's thread only.
  static func start(
    _ image: SealedImage, limits: ChildLimits, configuration: PluginHostConfiguration
  ) throws(Failure) -> SpawnedChild {
    let startedAt = PluginClock.now
    var ours: Int32 = -1
    var theirs: Int32 = -1
    var reader: Int32 = -1
    var writer: Int32 = -1
    var result = skein_socket_pair(&ours, &theirs)
    if result == 0 { result = skein_error_pipe(&reader, &writer) }
    defer {
      if theirs >= 0 { close(theirs) }
      if writer >= 0 { close(writer) }
    }
    var pid: Int32 = 0
    if result == 0 {
      let words = limits.arguments(program: configuration.hostProgram, user: configuration.childUser)
      var raw: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
      raw.append(nil)
      defer { for word in raw { free(word) } }
      result = raw.withUnsafeBufferPointer { words in
        skein_spawn(configuration.hostProgram, words.baseAddress, theirs, image.descriptor, writer, &pid)
      }
    }
    guard result == 0 else {
      if ours >= 0 { close(ours) }
      if reader >= 0 { close(reader) }
      throw Failure(text: "\(configuration.hostProgram) cannot be started: \(systemText(result))")
    }
    return SpawnedChild(socket: ours, errors: reader, pid: pid, startedAt: startedAt)
  }
}

/// What a child may take, from the plug-in's manifest and grants.
struct ChildLimits: Sendable {
  var memoryMegabytes: Int
  var descriptors: Int
  var network: Bool
  var paths: [String]

  /// Bytes of address space: the run times reserve far more than they use (arenas, stacks of threads).
  var addressSpace: UInt64 { UInt64(memoryMegabytes) * 2 << 20 + 1 << 30 }

  func arguments(program: String, user: PluginHostConfiguration.User?) -> [String] {
    [
      program, "--child", String(getpid()), String(user?.uid ?? 0), String(user?.gid ?? 0),
      String(addressSpace),
      String(descriptors), network ? "1" : "0",
    ] + paths
  }
}

/// How a child ended, in words.
struct ChildEnd: Sendable {
  var code: Int32
  var signal: Int32
  /// The last of what it printed.
  var printed: String

  /// After a forbidden system call (skein-plugin-host).
  static let forbiddenCode: Int32 = 120

  var kind: PluginFaultRecord.Kind {
    code == Self.forbiddenCode || signal == SIGSYS ? .forbiddenCall : .crash
  }

  var text: String {
    let last = printed.split(separator: "\n").last.map(String.init) ?? ""
    let said = last.isEmpty ? "" : "; it printed: \(last.displayable)"
    if code == Self.forbiddenCode {
      let prefix = "skein: forbidden: "
      let call = printed.split(separator: "\n").last { $0.hasPrefix(prefix) }?.dropFirst(prefix.count)
      return
        "it made a system call that no plug-in may make: \(call.map { String($0).displayable } ?? "unknown")"
    }
    if signal != 0 { return "its process ended by signal \(signal) (\(Self.name(signal)))\(said)" }
    return "its process ended with code \(code)\(said)"
  }

  static func name(_ signal: Int32) -> String {
    switch signal {
    case SIGSEGV: "SIGSEGV, a bad memory access"
    case SIGABRT: "SIGABRT, it gave up"
    case SIGILL: "SIGILL, a trap of Swift or a bad instruction"
    case SIGTRAP: "SIGTRAP, a trap of Swift"
    case SIGBUS: "SIGBUS, a bad memory access"
    case SIGFPE: "SIGFPE, a division by zero"
    case SIGKILL: "SIGKILL, from outside: the kernel, out of memory, or somebody"
    case SIGSYS: "SIGSYS, a forbidden system call"
    default: "a signal"
    }
  }
}
