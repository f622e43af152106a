internal import PluginABI
internal import Synchronization

/// Control calls in their order, carried out by one thread. Bounded by the broker, which has at most 1,024 instances in a
/// child and one control call open for each.
final class ControlQueue: Sendable {
  enum Command: Sendable {
    case create(ChildFrame.Header, ChildCreate)
    case destroy(ChildFrame.Header)
    case quiesce(ChildFrame.Header)
  }

  private let waiting = Mutex<[Command]>([])
  private let signal = ThreadSignal()

  func add(_ command: Command) {
    waiting.withLock { $0.append(command) }
    signal.raise()
  }

  func start(_ carryOut: @escaping @Sendable (Command) -> Void) {
    HostProgram.thread { [self] in
      while true {
        signal.wait()
        if let command = waiting.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { carryOut(command) }
      }
    }
  }
}
