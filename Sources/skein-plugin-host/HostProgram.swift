internal import CSkeinSandbox
internal import Glibc
internal import PluginABI

/// What the program does with its arguments: closes the sandbox, then serves the broker on descriptor 3 with the plug-in
/// of descriptor 4.
///
/// Arguments (Docs/formats/plugin-child.md): `--child PARENT UID GID ADDRESS-SPACE DESCRIPTORS NETWORK [PATH …]`.
/// Ends with 0 when the broker closes the socket, 64 for wrong arguments, 71 if the sandbox cannot be closed, 65 when
/// the broker sends what makes no sense, 120 after a forbidden system call.
enum HostProgram {
  static func run() -> Never {
    guard let sandbox = Sandbox(CommandLine.arguments) else {
      say(
        "skein-plugin-host runs one plug-in for skeind, which starts it; it is of no use by itself. See Docs/plugins/operate.md."
      )
      exit(64)
    }
    let landlock: Int32
    do {
      landlock = try sandbox.enter()
    } catch {
      say("skein: no sandbox: \(error.description)")
      exit(71)
    }
    let server = ChildServer(socket: 3, image: 4, landlock: landlock)
    server.run()
  }

  /// A thread that never ends. Without it the child is of no use: the process ends.
  static func thread(_ body: @escaping @Sendable () -> Void) {
    let result = ThreadSignal.thread(body)
    if result != 0 {
      say("skein: no thread: \(systemText(result))")
      exit(71)
    }
  }

  static func say(_ text: String) {
    let line = Array((text + "\n").utf8)
    _ = line.withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
  }
}

/// The limits that the broker gave, as arguments.
private struct Sandbox {
  private let parent: Int32
  private let uid: UInt32
  private let gid: UInt32
  private let addressSpace: UInt64
  private let descriptors: UInt32
  private let network: Bool
  private let paths: [String]

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  init?(_ arguments: [String]) {
    guard arguments.count >= 8, arguments[1] == "--child", let parent = Int32(arguments[2]),
      let uid = UInt32(arguments[3]), let gid = UInt32(arguments[4]), let space = UInt64(arguments[5]),
      let descriptors = UInt32(arguments[6]), ["0", "1"].contains(arguments[7])
    else { return nil }
    self.parent = parent
    self.uid = uid
    self.gid = gid
    addressSpace = space
    self.descriptors = descriptors
    network = arguments[7] == "1"
    paths = Array(arguments.dropFirst(8))
  }

  /// - Returns: Landlock's version, 0 if the kernel has none.
  func enter() throws(Failure) -> Int32 {
    var list: [UnsafePointer<CChar>?] = paths.map { UnsafePointer(strdup($0)) }
    list.append(nil)
    var landlock: Int32 = 0
    var why = [CChar](repeating: 0, count: 256)
    let result = list.withUnsafeBufferPointer { list in
      var raw = skein_sandbox(
        parent: parent, uid: uid, gid: gid, address_space: addressSpace, descriptors: descriptors,
        network: network ? 1 : 0, paths: list.baseAddress)
      return skein_sandbox_enter(&raw, &landlock, &why, why.count)
    }
    guard result == 0 else {
      throw Failure(
        description: String(decoding: why.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }
    return landlock
  }
}
