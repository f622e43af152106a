import NIOCore
import PluginABI

/// One open call into a child. Confined to the child's loop.
struct ChildCall {
  /// Who waits, and how the answer is read.
  enum Waiting {
    case place(partitions: Int, count: Int, PlaceAnswer)
    case bytes(BytesAnswer)
    case create
    case quiesce
    case destroy
    case ping
  }

  var instance: UInt32
  var waiting: Waiting
  var deadline: NIODeadline
  var startedAt: Int64
  var bytes: Int
}

/// Called exactly once, on the caller's loop.
struct PlaceAnswer: Sendable {
  let loop: any EventLoop
  let call: @Sendable (Result<[Int32], CallFailure>) -> Void

  func give(_ result: Result<[Int32], CallFailure>) {
    if loop.inEventLoop { return call(result) }
    loop.execute { [call] in call(result) }
  }
}

/// Called exactly once, on the caller's loop.
struct BytesAnswer: Sendable {
  let loop: any EventLoop
  let call: @Sendable (Result<[UInt8], CallFailure>) -> Void

  func give(_ result: Result<[UInt8], CallFailure>) {
    if loop.inEventLoop { return call(result) }
    loop.execute { [call] in call(result) }
  }
}
