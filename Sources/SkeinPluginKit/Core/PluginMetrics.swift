import CSkeinPlugin

/// Series named `skein_plugin_<name>`, labelled by the host with the plug-in's id and version; at most 32 an instance.
/// Define them in `init` of a plug-in; record from any thread, wait-free. `name`: 1 to 64 of a-z 0-9 _; one that the
/// host refuses records nothing.
public struct PluginMetrics: Sendable {
  /// What a value counts.
  public enum Unit: String, Sendable {
    case none = ""
    case seconds
    case bytes
  }

  let host: Host
  let instance: UInt64

  public func counter(_ name: String, unit: Unit = .none) -> Counter {
    Counter(host: host, id: define(SKEIN_METRIC_COUNTER, name, unit))
  }
  public func gauge(_ name: String, unit: Unit = .none) -> Gauge {
    Gauge(host: host, id: define(SKEIN_METRIC_GAUGE, name, unit))
  }
  public func histogram(_ name: String, unit: Unit = .none) -> Histogram {
    Histogram(host: host, id: define(SKEIN_METRIC_HISTOGRAM, name, unit))
  }

  private func define(_ kind: Int32, _ name: String, _ unit: Unit) -> UInt64 {
    host.defineMetric(instance, kind: kind, name: name, unit: unit.rawValue)
  }

  /// A number that only grows.
  public struct Counter: Sendable {
    let host: Host
    let id: UInt64
    /// `value` >= 0.
    public func add(_ value: Double = 1) { host.record(id, value) }
  }

  /// A number that goes up and down.
  public struct Gauge: Sendable {
    let host: Host
    let id: UInt64
    public func set(_ value: Double) { host.record(id, value) }
  }

  /// Observations, such as durations.
  public struct Histogram: Sendable {
    let host: Host
    let id: UInt64
    public func observe(_ value: Double) { host.record(id, value) }
  }
}
