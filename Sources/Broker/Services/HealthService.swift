import NIOCore
import SkeinCore
import Synchronization
import Transport
import Wire

/// Whether the broker serves, and who wants to know when that changes. Threading: any thread.
package final class HealthState: Sendable {
  package enum Phase: Int, Sendable { case starting, ready, draining, failed }

  private struct State {
    var phase = Phase.starting
    var address = ""
    var nextWatcher = 0
    var watchers: [Int: @Sendable (Phase) -> Void] = [:]
  }

  private let state = Mutex(State())

  package init() {}

  package var phase: Phase { state.withLock { $0.phase } }
  /// host:port of the gRPC listener, once bound.
  package var address: String { state.withLock { $0.address } }
  package var isReady: Bool { phase == .ready }

  package func bound(to address: String) { state.withLock { $0.address = address } }

  /// Phases only rise: a failed broker never becomes ready again.
  package func enter(_ phase: Phase) {
    let watchers = state.withLock { state -> [@Sendable (Phase) -> Void] in
      guard phase.rawValue > state.phase.rawValue else { return [] }
      state.phase = phase
      return Array(state.watchers.values)
    }
    for watcher in watchers { watcher(phase) }
  }

  /// Calls `watcher` now and at each change, until `unwatch`.
  func watch(_ watcher: @escaping @Sendable (Phase) -> Void) -> Int {
    let (id, phase) = state.withLock { state in
      state.nextWatcher += 1
      state.watchers[state.nextWatcher] = watcher
      return (state.nextWatcher, state.phase)
    }
    watcher(phase)
    return id
  }

  func unwatch(_ id: Int) { _ = state.withLock { $0.watchers.removeValue(forKey: id) } }
}

/// `grpc.health.v1.Health`. Needs no principal: probes have their certificate only.
struct HealthService: Sendable {
  let health: HealthState
  let services: Set<String>

  func handler(method: String, call: Call) -> (any CallHandler)? {
    switch method {
    case "Check":
      let health = health
      let services = services
      return UnaryHandler(call) { message, reply in
        do throws(Fault) {
          let request = try HealthCheckRequest(decoding: message)
          guard request.service.isEmpty || services.contains(request.service) else {
            throw Fault(
              .serviceUnknown,
              "no service \"\(request.service.displayable)\"; known: \(services.sorted().joined(separator: ", "))"
            )
          }
          reply.succeed(HealthCheckResponse(status: .init(health.phase)).encoded())
        } catch {
          reply.fail(error)
        }
      }
    case "Watch": return HealthWatch(call: call, health: health, services: services)
    default: return nil
    }
  }
}

extension HealthCheckResponse.ServingStatus {
  init(_ phase: HealthState.Phase) { self = phase == .ready ? .serving : .notServing }
}

/// One Health/Watch. `@unchecked Sendable`: state is touched on the call's event loop only.
private final class HealthWatch: CallHandler, @unchecked Sendable {
  private let call: Call
  private let health: HealthState
  private let services: Set<String>
  private var watcher: Int?
  private var isClosed = false

  init(call: Call, health: HealthState, services: Set<String>) {
    self.call = call
    self.health = health
    self.services = services
  }

  func received(_ message: SharedBytes) {
    call.release(message.count)
    guard watcher == nil else { return }
    do throws(Fault) {
      let request = try HealthCheckRequest(decoding: message)
      guard request.service.isEmpty || services.contains(request.service) else {
        // The health protocol: an unknown service is a state, not an error; it may appear later.
        return send(.serviceUnknown)
      }
      let loop = call.eventLoop
      watcher = health.watch { [weak self] phase in
        loop.execute { [weak self] in self?.send(.init(phase)) }
      }
    } catch {
      stop()
      call.finish(GRPCStatus(error))
    }
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { stop() }

  private func send(_ status: HealthCheckResponse.ServingStatus) {
    guard !isClosed else { return }
    call.send(OutboundMessage(head: HealthCheckResponse(status: status).encoded(), parts: []))
  }

  private func stop() {
    isClosed = true
    if let watcher { health.unwatch(watcher) }
  }
}
