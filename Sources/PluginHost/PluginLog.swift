import CSkeinPlugin
import Logging
import PluginABI
import PluginPackage
import SkeinCore

/// A plug-in's line in the broker's log: escaped, so that it cannot forge lines of others.
enum PluginLog {
  static func write(_ line: LogRing.Line, from reference: PluginReference, usedBy: String?, to logger: Logger)
  {
    let level: Logger.Level =
      switch line.level {
      case SKEIN_LOG_DEBUG: .debug
      case SKEIN_LOG_INFO: .info
      case SKEIN_LOG_WARNING: .warning
      default: .error
      }
    logger.log(
      level: level, "plug-in says",
      metadata: [
        "plugin": "\(reference)", "instance": "\(line.instance)", "used_by": "\(usedBy ?? "")",
        "text": "\(line.message.displayable)",
      ])
  }
}
