import Glibc
import Testing

/// A process that is waited for without blocking a thread of the pool: Foundation's `Process` does, and sees an end only
/// when nobody else inherited its socket.
struct TestProcess: Sendable {
  let pid: Int32

  init(_ path: String, _ arguments: [String]) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for descriptor in 0...2 as ClosedRange<Int32> {
      posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
    }
    var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) }
    defer { for word in words { free(word) } }
    words.append(nil)
    var environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=/usr/bin:/bin"), nil]
    defer { free(environment[0]) }
    var pid: Int32 = 0
    try #require(posix_spawn(&pid, path, &actions, nil, words, environment) == 0)
    self.pid = pid
    environment[1] = nil
  }

  /// Its exit code, or its signal.
  func end() async throws -> Int32 {
    for _ in 0..<6_000 {
      var status: Int32 = 0
      if waitpid(pid, &status, WNOHANG) == pid {
        return status & 0x7f == 0 ? (status >> 8) & 0xff : status & 0x7f
      }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw Missing(what: "the end of process \(pid)")
  }
}
