import CSkeinPlugin

/// Lines for the broker's log. Wait-free; more than 100 lines a second of a plug-in are dropped and counted. Never
/// write a secret.
public struct PluginLog: Sendable {
  let host: Host
  let instance: UInt64

  public func debug(_ message: String) { host.write(instance, level: SKEIN_LOG_DEBUG, message) }
  public func info(_ message: String) { host.write(instance, level: SKEIN_LOG_INFO, message) }
  public func warning(_ message: String) { host.write(instance, level: SKEIN_LOG_WARNING, message) }
  public func error(_ message: String) { host.write(instance, level: SKEIN_LOG_ERROR, message) }
}
