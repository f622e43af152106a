import CSkeinShims
import Glibc
import Logging
import PluginABI
import PluginPackage
import SkeinCore
import Synchronization

/// Plug-ins that are loaded into the broker, and the thread that watches them: it passes on what they log, and ends the
/// broker, naming the culprit, when one does not come back for the hang limit, because a thread cannot be stopped
/// from outside and the partitions of its loop stand still.
///
/// Images are never unloaded. Any thread; `load` on the supervisor's.
final class BrokerImages: Sendable {
  struct Image: Sendable {
    let plugin: LoadedPlugin
    let crumb: UInt32
    let record: PluginRecord
  }

  /// What to do with a hang; ends the process, but in tests.
  struct OnHang: Sendable {
    let call: @Sendable (String) -> Void
  }

  private struct State {
    var images: [String: Image] = [:]
    var nextInstance: UInt64 = 1
    var isWatching = false
    var isClosed = false
    var stuck: String?
  }

  private let state = Mutex(State())
  private let crumbsPath: String
  private let configuration: PluginHostConfiguration
  private let logger: Logger
  private let onHang: OnHang
  private let stop = ThreadSignal()
  static let lookMilliseconds = 250

  init(crumbsPath: String, configuration: PluginHostConfiguration, logger: Logger, onHang: OnHang) {
    self.crumbsPath = crumbsPath
    self.configuration = configuration
    self.logger = logger
    self.onHang = onHang
  }

  /// Why the broker is not healthy: a thread that is in a plug-in for more than a second.
  var stuck: String? { state.withLock { $0.stuck } }

  func image(_ sha256: String) -> Image? { state.withLock { $0.images[sha256] } }

  /// Loads an image that was probed. Its constructors run in this process.
  func load(_ artifact: VerifiedArtifact, image: SealedImage, record: PluginRecord) throws(LoadRefusal)
    -> Image
  {
    if let there = self.image(artifact.sha256) { return there }
    guard state.withLock({ $0.images.count }) < configuration.maximumImages else {
      throw LoadRefusal(
        .system, "\(configuration.maximumImages) images are loaded already; restart the broker")
    }
    let opened = skein_crumbs_open(crumbsPath)
    guard opened == 0 || opened == EALREADY else {
      throw LoadRefusal(.system, "no breadcrumb page at \(crumbsPath): \(systemText(opened))")
    }
    skein_crumbs_catch_signals()
    let crumb = skein_crumbs_name(artifact.sha256, artifact.manifest.reference.description)
    guard crumb > 0 else { throw LoadRefusal(.system, "the breadcrumb page is full; restart the broker") }
    watch()
    skein_crumbs_set(crumb, 0, 0, PluginClock.now)
    defer { skein_crumbs_clear() }
    let plugin = try LoadedPlugin.load(
      image, id: artifact.manifest.reference.id, version: artifact.manifest.reference.version,
      services: HostServices())
    let loaded = Image(plugin: plugin, crumb: crumb, record: record)
    state.withLock { $0.images[artifact.sha256] = loaded }
    return loaded
  }

  func make(_ image: Image, config: String, members: [ConfigTable.Member]) throws(LoadRefusal)
    -> LoadedInstance
  {
    let number = state.withLock { state in
      defer { state.nextInstance += 1 }
      return state.nextInstance
    }
    skein_crumbs_set(image.crumb, 0, 0, PluginClock.now)
    defer { skein_crumbs_clear() }
    return try LoadedInstance(
      image.plugin, kind: PluginKind.partitioner.rawValue, number: number,
      config: Array((config.isEmpty ? "{}" : config).utf8), members: ConfigTable(members))
  }

  func close() {
    state.withLock { $0.isClosed = true }
    stop.raise()
  }

  // MARK: The watching thread

  private func watch() {
    let isFirst = state.withLock { state in
      defer { state.isWatching = true }
      return !state.isWatching
    }
    guard isFirst else { return }
    let result = ThreadSignal.thread { [self] in
      while !stop.wait(milliseconds: Self.lookMilliseconds) { look() }
    }
    if result != 0 {
      logger.error("no thread to watch plug-ins in the broker", metadata: ["errno": "\(result)"])
    }
  }

  private func look() {
    for image in state.withLock({ Array($0.images.values) }) {
      while let line = image.plugin.services.log.next() {
        PluginLog.write(line, from: image.record.reference, usedBy: nil, to: logger)
      }
      let samples = image.plugin.services.metrics.samples()
      let dropped = image.plugin.services.log.dropped
      image.record.change {
        $0.samples = samples
        $0.status.droppedLogLines = dropped
      }
    }
    var crumb = skein_crumb()
    let age = skein_crumbs_oldest(&crumb) == 1 ? (PluginClock.now - crumb.start_ns) / 1_000_000 : 0
    guard age > 1_000 else { return state.withLock { $0.stuck = nil } }
    let culprit = "\(crumb.plugin), for topic \(crumb.forTopic), does not come back for \(age) ms"
    let isNew = state.withLock { state in
      defer { state.stuck = culprit }
      return state.stuck == nil
    }
    if isNew {
      logger.error("a thread of the broker hangs in a plug-in", metadata: ["culprit": "\(culprit)"])
    }
    guard age > configuration.hangLimitMilliseconds else { return }
    skein_crumbs_mark_hang(&crumb)
    logger.critical(
      "the broker ends: a plug-in in it hangs; it will be quarantined at the next start",
      metadata: ["culprit": "\(culprit)"])
    onHang.call(culprit)
  }
}

extension skein_crumb {
  var hash: String { Self.text(of: sha256) }
  var plugin: String { Self.text(of: name) }
  var forTopic: String { Self.text(of: topic) }

  /// A C array of characters up to its NUL.
  private static func text<T>(of field: T) -> String {
    withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}
