// The transport against its yardstick, spikes/h2tls: the same messages, one process per side.
//
//   TransportBench server CERTS PORT
//   TransportBench client CERTS PORT SIZE COUNT [unary [IN_FLIGHT]]
//   TransportBench idle   CERTS PORT COUNT       (opens COUNT connections, one call each, and holds them 5 s)
//
// CERTS holds ca.pem, server.pem, server.key, client.pem, client.key. The server acknowledges every message
// with 4 bytes, as the spike's does. Rates are printed in the spike's words.
import Glibc
import NIOCore
import NIOPosix
import SkeinCore
import Synchronization
import Transport

let arguments = CommandLine.arguments
guard arguments.count >= 4, let port = Int(arguments[3]) else {
  print("usage: TransportBench server CERTS PORT | client CERTS PORT SIZE COUNT [unary [IN_FLIGHT]]")
  exit(2)
}
let folder = arguments[2]
let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

func pem(_ name: String) -> PEMSource { .file("\(folder)/\(name)") }

/// Seconds on a clock that never goes back.
func now() -> Double { Double(NIODeadline.now().uptimeNanoseconds) / 1e9 }

func cpuSeconds() -> Double {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
    + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
}

/// Four bytes for every message.
final class Acknowledge: CallHandler {
  static let answer = SharedBytes([1, 2, 3, 4])
  let call: Call
  init(_ call: Call) { self.call = call }
  func received(_ message: SharedBytes) {
    call.release(message.count)
    call.send(OutboundMessage(Self.answer))
  }
  func receivedEnd() { call.finish(.ok) }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) {}
}

/// Sends COUNT messages as fast as flow control allows; done with the last acknowledgement.
final class Stream: CallHandler {
  let call: Call
  let payload: SharedBytes
  var left: Int
  let done: @Sendable (GRPCStatus) -> Void
  init(_ call: Call, _ payload: SharedBytes, _ count: Int, _ done: @escaping @Sendable (GRPCStatus) -> Void) {
    self.call = call
    self.payload = payload
    left = count
    self.done = done
    writable()
  }
  func writable() {
    guard left > 0 else { return }
    while left > 0, call.isWritable {
      left -= 1
      call.send(OutboundMessage(payload))
    }
    if left == 0 { call.sendEnd() }
  }
  func received(_ message: SharedBytes) { call.release(message.count) }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) { done(status) }
}

/// One unary call after another; IN_FLIGHT of these run side by side. Confined to the loop.
final class Unary: CallHandler {
  let call: Call
  let next: @Sendable (GRPCStatus) -> Void
  init(_ call: Call, _ payload: SharedBytes, _ next: @escaping @Sendable (GRPCStatus) -> Void) {
    self.call = call
    self.next = next
    call.send(OutboundMessage(payload))
    call.sendEnd()
  }
  func received(_ message: SharedBytes) { call.release(message.count) }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) { next(status) }
}

if arguments[1] == "server" {
  let tls = ServerTLS(
    certificateChain: pem("server.pem"), privateKey: pem("server.key"), clientAuthorities: pem("ca.pem"))
  let server = try GRPCServer(
    configuration: ServerConfiguration(tls: tls, budget: MemoryBudget(limit: 1 << 30)) { print($0) },
    group: group
  ) { Acknowledge($0) }
  print("listening on \(try await server.bind(host: "127.0.0.1", port: port))")
  fflush(nil)
  try await Task.sleep(for: .seconds(100_000))
} else if arguments[1] == "idle" {
  let tls = ClientTLS(
    trustRoots: pem("ca.pem"), certificateChain: pem("client.pem"), privateKey: pem("client.key"))
  var open: [GRPCConnection] = []
  for _ in 0..<(Int(arguments[4]) ?? 100) {
    open.append(try await GRPCConnection.connect(host: "localhost", port: port, tls: tls, group: group))
  }
  print("open \(open.count)")
  try await Task.sleep(for: .seconds(5))
  for connection in open { await connection.close() }
} else {
  guard arguments.count >= 6, let size = Int(arguments[4]), let count = Int(arguments[5]) else { exit(2) }
  let isUnary = arguments.count > 6
  let inFlight = arguments.count > 7 ? Int(arguments[7]) ?? 32 : 32
  let tls = ClientTLS(
    trustRoots: pem("ca.pem"), certificateChain: pem("client.pem"), privateKey: pem("client.key"))
  let connection = try await GRPCConnection.connect(host: "localhost", port: port, tls: tls, group: group)
  let payload = SharedBytes([UInt8](repeating: 7, count: size))
  let begin = now()
  let failures = Atomic<Int>(0)
  if isUnary {
    let started = Atomic<Int>(0)
    let finished = Atomic<Int>(0)
    await withCheckedContinuation { (all: CheckedContinuation<Void, Never>) in
      @Sendable func one() {
        guard started.add(1, ordering: .relaxed).newValue <= count else { return }
        connection.open(path: "/b.B/S") { call in
          Unary(call, payload) { status in
            if status.code != .ok { failures.add(1, ordering: .relaxed) }
            if finished.add(1, ordering: .relaxed).newValue == count { all.resume() }
            one()
          }
        }
      }
      connection.eventLoop.execute { for _ in 0..<inFlight { one() } }
    }
  } else {
    await withCheckedContinuation { (all: CheckedContinuation<Void, Never>) in
      connection.open(path: "/b.B/S") { call in
        Stream(call, payload, count) { status in
          if status.code != .ok { failures.add(1, ordering: .relaxed) }
          all.resume()
        }
      }
    }
  }
  let seconds = now() - begin
  print(
    "client size=\(size) n=\(count) \(isUnary ? "unary" : "stream"): \(Int(Double(count) / seconds)) msg/s \(Int(Double(count * size) / seconds / 1e6)) MB/s client cpu \(cpuSeconds()) failures \(failures.load(ordering: .relaxed))"
  )
  await connection.close()
}
