import CSkeinShims
import DiskIO
import Glibc
package import Logging
package import NIOCore
import PluginABI
package import PluginPackage
package import SkeinCore
import Synchronization

/// Runs plug-ins: in children by default, in the broker where that was granted. One child for each artifact, with all of
/// its instances. What is quarantined is not run. Docs/plugins/operate.md is its page for operators.
///
/// Any task, any thread.
package final class PluginHost: Sendable {
  /// Told when a plug-in is quarantined: its hash, what it is, why. Once for each.
  package typealias OnQuarantine = @Sendable (String, PluginReference, String) -> Void

  let configuration: PluginHostConfiguration
  let supervisor: Supervisor
  let logger: Logger
  private let group: any EventLoopGroup
  private let time: any TimeSource
  private let quarantine: Quarantine
  private let images: BrokerImages
  private let onQuarantine: OnQuarantine
  private let state: Mutex<State>

  private struct State {
    var records: [String: PluginRecord] = [:]
    var children: [String: PluginChild] = [:]
    /// Of an earlier life: quarantined, or children only.
    var entries: [String: Quarantine.Entry] = [:]
    var isClosed = false
  }

  /// Reads what an earlier life of the broker left: quarantine, and the crumbs of a crash, whose culprit is
  /// quarantined and named in the log.
  /// - Throws: `INVALID_REQUEST` if the run directory is of no use.
  package static func start(
    _ configuration: PluginHostConfiguration, group: any EventLoopGroup, time: any TimeSource, logger: Logger,
    onQuarantine: @escaping OnQuarantine
  ) async throws(Fault) -> PluginHost {
    try await start(
      configuration, group: group, time: time, logger: logger, onQuarantine: onQuarantine,
      onHang: .init { _ in _exit(70) })
  }

  static func start(
    _ configuration: PluginHostConfiguration, group: any EventLoopGroup, time: any TimeSource, logger: Logger,
    onQuarantine: @escaping OnQuarantine, onHang: BrokerImages.OnHang
  ) async throws(Fault) -> PluginHost {
    let supervisor = try Supervisor()
    let prepared = await supervisor.result {
      () -> Result<(Quarantine, [Quarantine.Entry], [String]), Fault> in
      do throws(Fault) {
        let run = try PrivateDirectory(preparing: configuration.runDirectory)
        let quarantine = try Quarantine(run: run)
        let found = try quarantine.read()
        return .success((quarantine, found.entries, found.broken))
      } catch {
        return .failure(error)
      }
    }
    let (quarantine, entries, broken) = try prepared.get()
    for name in broken {
      logger.error(
        "a quarantine file cannot be read",
        metadata: ["file": "\(configuration.runDirectory)/quarantine/\(name)"])
    }
    let host = PluginHost(
      configuration, supervisor, quarantine, entries, group: group, time: time, logger: logger,
      onQuarantine: onQuarantine, onHang: onHang)
    await host.readCrumbs()
    return host
  }

  private init(
    _ configuration: PluginHostConfiguration, _ supervisor: Supervisor, _ quarantine: Quarantine,
    _ entries: [Quarantine.Entry], group: any EventLoopGroup, time: any TimeSource, logger: Logger,
    onQuarantine: @escaping OnQuarantine, onHang: BrokerImages.OnHang
  ) {
    self.configuration = configuration
    self.supervisor = supervisor
    self.quarantine = quarantine
    self.group = group
    self.time = time
    self.logger = logger
    self.onQuarantine = onQuarantine
    images = BrokerImages(
      crumbsPath: configuration.runDirectory + "/crumbs", configuration: configuration, logger: logger,
      onHang: onHang)
    state = Mutex(
      State(entries: Dictionary(entries.map { ($0.sha256, $0) }, uniquingKeysWith: { a, _ in a })))
  }

  // MARK: Instances

  /// A partitioner with one configuration: in the broker if that was granted and it never crashed there, else in a child.
  /// - Throws: `PLUGIN_QUARANTINED`, `PLUGIN_CONFIG_INVALID`, `PLUGIN_REFUSED`, `PLUGIN_PROBE_FAILED` (before it is loaded
  ///   into the broker), `PLUGIN_FAULT`.
  package func partitioner(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any PartitionerInstance {
    let record = try record(of: artifact)
    if artifact.grants.contains(.inProcess), !record.change({ $0.isChildOnly }) {
      return try await inBroker(artifact, record, config: config, usedBy: usedBy)
    }
    let (child, number) = try await inChild(artifact, record, .partitioner, config: config, usedBy: usedBy)
    return ChildPartitioner(child, number)
  }

  /// An authenticator: always in a child.
  package func authenticator(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any AuthenticatorInstance {
    let record = try record(of: artifact)
    let (child, number) = try await inChild(artifact, record, .authenticator, config: config, usedBy: usedBy)
    return ChildAuthenticator(child, number)
  }

  /// An offset store: always in a child.
  package func offsetStore(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any OffsetStoreInstance {
    let record = try record(of: artifact)
    let (child, number) = try await inChild(artifact, record, .offsetStore, config: config, usedBy: usedBy)
    return ChildOffsetStore(child, number)
  }

  private func inChild(
    _ artifact: VerifiedArtifact, _ record: PluginRecord, _ kind: PluginKind, config: String, usedBy: String
  ) async throws(Fault) -> (PluginChild, UInt32) {
    try check(artifact, kind)
    let child = try child(of: artifact, record)
    record.change { $0.status.placement = .child }
    switch await child.make(kind, config: config, usedBy: usedBy) {
    case .success(let number): return (child, number)
    case .failure(let failure): throw failure.makingFault(record.reference)
    }
  }

  private func inBroker(
    _ artifact: VerifiedArtifact, _ record: PluginRecord, config: String, usedBy: String
  ) async throws(Fault) -> any PartitionerInstance {
    try check(artifact, .partitioner)
    if images.image(artifact.sha256) == nil { _ = try await probe(artifact, config: config) }
    let made = await supervisor.result {
      [images, supervisor] () -> Result<InProcessPartitioner, CallFailure> in
      do throws(LoadRefusal) {
        let members: [ConfigTable.Member]
        do throws(Fault) {
          members = try ConfigMembers.flatten(config, paths: artifact.manifest.paths) {
            (path, limit) throws(Fault) in try ConfigMembers.readSecret(path, limit: limit)
          }
        } catch {
          throw LoadRefusal(.config, error.message)
        }
        let sealed = try SealedImage(artifact.bytes, name: artifact.manifest.reference.description)
        let image = try images.load(artifact, image: sealed, record: record)
        let instance = try images.make(image, config: config, members: members)
        record.change {
          $0.status.placement = .broker
          $0.status.instances += 1
        }
        return .success(
          InProcessPartitioner(
            instance, crumb: image.crumb, record: record, supervisor: supervisor, usedBy: usedBy))
      } catch {
        return .failure(.refused(check: error.check.rawValue, error.message))
      }
    }
    switch made {
    case .success(let instance): return instance
    case .failure(let failure): throw failure.makingFault(record.reference)
    }
  }

  private func check(_ artifact: VerifiedArtifact, _ kind: PluginKind) throws(Fault) {
    guard artifact.manifest.kinds.contains(kind) else {
      throw Fault(
        .pluginWrongKind,
        "\(artifact.manifest.reference) is a \(artifact.manifest.kinds.map(\.word).joined(separator: ", ")), not a \(kind.word)",
        metadata: ["plugin": artifact.manifest.reference.description])
    }
  }

  // MARK: Records and children

  private func record(of artifact: VerifiedArtifact) throws(Fault) -> PluginRecord {
    let record = state.withLock { state in
      if let there = state.records[artifact.sha256] { return there }
      let made = makeRecord(artifact.manifest.reference, artifact.sha256)
      if let entry = state.entries[artifact.sha256] {
        made.change {
          $0.isChildOnly = entry.isChildOnly
          $0.status.quarantined = entry.isQuarantined ? entry.why : nil
        }
      }
      state.records[artifact.sha256] = made
      return made
    }
    if let why = record.quarantined { throw CallFailure.quarantine(record.reference, why) }
    return record
  }

  private func makeRecord(_ reference: PluginReference, _ sha256: String) -> PluginRecord {
    PluginRecord(
      reference, sha256: sha256, configuration: configuration, time: time, logger: logger,
      onQuarantine: .init { [weak self] record, why in self?.quarantined(record, why) })
  }

  private func child(of artifact: VerifiedArtifact, _ record: PluginRecord) throws(Fault) -> PluginChild {
    let result = state.withLock { state -> Result<PluginChild, Fault> in
      guard !state.isClosed else {
        return .failure(Fault(.draining, "the broker is stopping; try another one"))
      }
      if let there = state.children[artifact.sha256] { return .success(there) }
      let image: SealedImage
      do throws(LoadRefusal) {
        image = try SealedImage(artifact.bytes, name: record.reference.description)
      } catch {
        return .failure(CallFailure.refusal(record.reference, error.check.rawValue, error.message))
      }
      let made = makeChild(artifact, image, record, restarts: true)
      state.children[artifact.sha256] = made
      return .success(made)
    }
    return try result.get()
  }

  func makeChild(
    _ artifact: VerifiedArtifact, _ image: SealedImage, _ record: PluginRecord, restarts: Bool
  ) -> PluginChild {
    PluginChild(
      artifact, image: image, record: record, loop: group.next(), supervisor: supervisor,
      configuration: configuration, logger: logger, restarts: restarts)
  }

  /// A record that is nobody's: what a probe does is told to who asked for it, and strikes nothing.
  func probeRecord(_ artifact: VerifiedArtifact) -> PluginRecord {
    PluginRecord(
      artifact.manifest.reference, sha256: artifact.sha256, configuration: configuration, time: time,
      logger: logger, onQuarantine: .init { _, _ in })
  }

  // MARK: Quarantine

  private func quarantined(_ record: PluginRecord, _ why: String) {
    let entry = Quarantine.Entry(
      sha256: record.sha256, plugin: record.reference.description, why: why,
      atMilliseconds: time.wallMilliseconds, isQuarantined: true,
      isChildOnly: record.change { $0.isChildOnly })
    let child = state.withLock { state in
      state.entries[record.sha256] = entry
      return state.children[record.sha256]
    }
    supervisor.run { [self] in store(entry) }
    if let child { child.loop.execute { child.halt() } }
    onQuarantine(record.sha256, record.reference, why)
  }

  private func store(_ entry: Quarantine.Entry) {
    do {
      try quarantine.write(entry)
    } catch {
      logger.error(
        "the quarantine of a plug-in could not be written; it ends with this process",
        metadata: ["plugin": "\(entry.plugin)", "problem": "\(error.message)"])
    }
  }

  /// The crumbs of a process before: whoever it died in is quarantined.
  private func readCrumbs() async {
    let path = configuration.runDirectory + "/crumbs"
    let (mark, crumbs) = await supervisor.result { () -> (Int32, [skein_crumb]) in
      var mark: Int32 = 0
      var found = [skein_crumb](repeating: skein_crumb(), count: Int(SKEIN_CRUMB_SLOTS))
      let count = skein_crumbs_read(path, &mark, &found, Int32(found.count))
      return (mark, Array(found.prefix(max(0, Int(count)))))
    }
    guard let first = crumbs.first, Quarantine.isHash(first.hash) else { return }
    guard mark != 0 else {
      logger.warning(
        "the broker was killed while plug-ins ran in it; none is blamed, because no signal of theirs was seen",
        metadata: ["plugins": "\(Set(crumbs.map(\.plugin)).sorted().joined(separator: ", ").displayable)"])
      return
    }
    let how = mark < 0 ? "hung in it" : "died in it by signal \(mark) (\(ChildEnd.name(mark)))"
    let why = "the broker \(how), while it served topic \(first.forTopic)"
    let entry = Quarantine.Entry(
      sha256: first.hash, plugin: first.plugin.displayable, why: why, atMilliseconds: time.wallMilliseconds,
      isQuarantined: true, isChildOnly: true)
    await supervisor.result { [self] in store(entry) }
    state.withLock { $0.entries[first.hash] = entry }
    logger.error(
      "a plug-in took the broker down and is quarantined",
      metadata: ["plugin": "\(entry.plugin)", "sha256": "\(entry.sha256)", "why": "\(why)"])
    if let reference = PluginHost.reference(entry.plugin) { onQuarantine(first.hash, reference, why) }
  }

  private static func reference(_ text: String) -> PluginReference? {
    do throws(Fault) {
      return try PluginReference(parsing: text)
    } catch {
      return nil
    }
  }

  /// Runs it again; its strikes are forgotten. One that took the broker down stays out of it for good.
  /// - Throws: `PLUGIN_NOT_FOUND` if nothing is known of it.
  package func release(_ sha256: String) throws(Fault) {
    let (record, child, entry) = state.withLock { state -> (PluginRecord?, PluginChild?, Quarantine.Entry?) in
      let entry = state.entries[sha256]
      state.entries[sha256]?.isQuarantined = false
      if entry?.isChildOnly == false { state.entries[sha256] = nil }
      return (state.records[sha256], state.children[sha256], entry)
    }
    guard record != nil || entry != nil else {
      throw Fault(
        .pluginNotFound, "no plug-in with sha256 \(sha256.displayable) was used or quarantined here")
    }
    record?.release()
    supervisor.run { [self] in
      if var entry, entry.isChildOnly {
        entry.isQuarantined = false
        store(entry)
      } else {
        quarantine.remove(sha256)
      }
    }
    if let child { child.loop.execute { child.revive() } }
  }

  // MARK: What is seen of it

  /// nil: it was not used since the broker started, and is not quarantined.
  package func status(_ reference: PluginReference) -> PluginStatus? {
    let (records, entries) = state.withLock { (Array($0.records.values), Array($0.entries.values)) }
    // The same version may have been removed and installed with other bytes: the one that was used last counts.
    if let record = records.filter({ $0.reference == reference }).max(by: {
      $0.status.instances < $1.status.instances
    }) {
      return record.status
    }
    guard let entry = entries.first(where: { $0.plugin == reference.description && $0.isQuarantined }) else {
      return nil
    }
    var status = PluginStatus(
      reference: reference, sha256: entry.sha256, placement: entry.isChildOnly ? .broker : .child)
    status.quarantined = entry.why
    return status
  }

  /// Why this artifact is not run; nil: it may be.
  package func quarantineReason(_ sha256: String) -> String? {
    state.withLock { state in
      if let record = state.records[sha256] { return record.quarantined }
      guard let entry = state.entries[sha256], entry.isQuarantined else { return nil }
      return entry.why
    }
  }

  /// Why the broker is not healthy: a thread hangs in a plug-in. nil: it is.
  package var stuck: String? { images.stuck }

  var records: [PluginRecord] { state.withLock { $0.records.values.sorted { $0.reference < $1.reference } } }

  // MARK: End

  /// Ends every child: instances quiesce and are destroyed, within the control deadline; what does not end is killed.
  /// No process is left when it returns.
  package func close() async {
    let children = state.withLock { state in
      state.isClosed = true
      return Array(state.children.values)
    }
    for child in children { await end(child) }
    images.close()
    // What is still to be written, is.
    await supervisor.result {}
  }

  func end(_ child: PluginChild) async {
    await withCheckedContinuation { continuation in
      child.loop.execute { child.close { continuation.resume() } }
    }
  }
}
