import Foundation
import SkeinClient
import SkeinCore

/// Each address by itself: name, TCP, TLS both ways, HTTP/2, and the clocks.
struct ConnectionChecks {
  /// Beyond this the clocks are worth a warning; beyond an hour records are refused (R60).
  static let clockWarning: Int64 = 5000
  static let clockLimit: Int64 = 3_600_000

  let configuration: ClientConfiguration

  /// - Returns: whether one address at least can be used.
  func run(_ findings: inout Findings) async -> Bool {
    let probes = await ConnectionProbe.all(configuration)
    var isReached = false
    for probe in probes {
      switch probe.result {
      case .failure(let failure):
        let isOnly = !probes.contains { if case .success = $0.result { true } else { false } }
        // One address of several may be down: that is what the others are for.
        findings.add(
          isOnly ? .fail : .warn, "connection",
          "\(probe.address): \(failure.message.trimmingPrefix("\(probe.address): "))", cure: failure.cure,
          code: failure.isRefusal ? Failure.access : Failure.unreachable)
      case .success(let reached):
        if report(reached, probe.address, &findings) { isReached = true }
      }
    }
    return isReached
  }

  private func report(_ reached: ConnectionProbe.Reached, _ address: String, _ findings: inout Findings)
    -> Bool
  {
    let connect = milliseconds(reached.connectNanoseconds)
    findings.add(
      .ok, "connection", "\(address): TLS and HTTP/2 up in \(connect), server \"\(reached.commonName ?? "")\""
    )
    if let end = reached.certificateNotAfter {
      let left = end - Int64(Date().timeIntervalSince1970)
      let text = "\(address): the server's certificate is valid for \(Units.duration(seconds: left))"
      if left < IdentityChecks.warning {
        findings.add(.warn, "server", text, cure: "renew it on the broker")
      } else {
        findings.add(.ok, "server", text)
      }
    }
    if let refusal = reached.refusal {
      let code = Failure.code(refusal)
      findings.add(
        .fail, "access", "\(address): \(refusal.message) [\(refusal.reason)]",
        cure: Reason.named(refusal.reason)?.meaning ?? "see `skein errors \(refusal.reason)`", code: code)
      return false
    }
    if let trip = reached.roundTripNanoseconds { checkTrip(trip, address, &findings) }
    if let ahead = reached.clockAheadMilliseconds { checkClock(ahead, address, &findings) }
    return true
  }

  private func checkTrip(_ trip: Int64, _ address: String, _ findings: inout Findings) {
    let text = "\(address): a call takes \(milliseconds(trip))"
    if trip > 200_000_000 {
      findings.add(
        .warn, "latency", text, cure: "run nearer to the broker, or send larger batches with more in flight")
    } else {
      findings.add(.ok, "latency", text)
    }
  }

  private func checkClock(_ ahead: Int64, _ address: String, _ findings: inout Findings) {
    let (size, word) = (ahead.magnitude, ahead > 0 ? "behind" : "ahead of")
    let text = "this machine's clock is \(size) ms \(word) the broker's at \(address)"
    if size > UInt64(Self.clockLimit) {
      findings.add(
        .fail, "clock", "\(text); records would be refused (TIMESTAMP_INVALID)",
        cure: "set the clock: NTP on both machines")
    } else if size > UInt64(Self.clockWarning) {
      findings.add(
        .warn, "clock", text, cure: "NTP on both machines; timestamps and --from TIME are off by as much")
    } else {
      findings.add(.ok, "clock", "\(size) ms apart")
    }
  }

  private func milliseconds(_ nanoseconds: Int64) -> String {
    "\(Double(nanoseconds / 10_000) / 100) ms"
  }
}
