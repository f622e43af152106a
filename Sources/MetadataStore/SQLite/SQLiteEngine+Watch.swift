import SkeinCore

/// Watches. Each is only a cursor into `entries`: nothing is buffered for it, however slow it is.
extension SQLiteEngine {
  typealias WatchAnswer = Result<[WatchUpdate]?, MetadataError>
  typealias WatchWaiter = CheckedContinuation<WatchAnswer, Never>

  struct Watcher {
    let keys: KeyRange
    let previous: Bool
    /// The first revision that it has not been told of.
    var cursor: Revision
    /// Set while its consumer waits and there is nothing to tell.
    var waiter: WatchWaiter?
  }

  func addWatcher(_ request: WatchRequest) throws(MetadataError) -> Int {
    guard !request.keys.start.isEmpty else { throw .emptyKey }
    guard watchers.count < MetadataLimits.watches else {
      throw MetadataError(.overloaded, "\(MetadataLimits.watches) watches exist already")
    }
    let from = request.from > .zero ? request.from : revision.next
    guard from >= compacted else { throw .compacted(at: compacted) }
    lastWatcher += 1
    watchers[lastWatcher] = Watcher(keys: request.keys, previous: request.previous, cursor: from)
    return lastWatcher
  }

  /// Watches whose consumers wait for something to happen.
  var waitingWatchers: Int { watchers.values.count { $0.waiter != nil } }

  /// Answers with the next updates now, or when there are some.
  func serve(_ id: Int, _ waiter: WatchWaiter) {
    guard watchers[id] != nil else { return waiter.resume(returning: .success(nil)) }
    do {
      let updates = try nextUpdates(id)
      if updates.isEmpty {
        watchers[id]?.waiter = waiter
      } else {
        waiter.resume(returning: .success(updates))
      }
    } catch {
      waiter.resume(returning: .failure(error))
    }
  }

  func endWatcher(_ id: Int) {
    watchers.removeValue(forKey: id)?.waiter?.resume(returning: .success(nil))
  }

  func endAllWatchers() {
    for watcher in watchers.values { watcher.waiter?.resume(returning: .failure(.closed)) }
    watchers.removeAll()
  }

  /// After a commit: whoever waits and is concerned gets its updates, the others' cursors move on, so
  /// that compaction does not catch up with a watch in which nothing happens.
  func wakeWatchers(_ changed: [[UInt8]]) {
    for (id, watcher) in watchers {
      guard let waiter = watcher.waiter else { continue }
      if changed.contains(where: watcher.keys.contains) {
        watchers[id]?.waiter = nil
        serve(id, waiter)
      } else {
        watchers[id]?.cursor = max(watcher.cursor, revision.next)
      }
    }
  }

  /// Reads whole revisions from the cursor on, as many as one step may, and moves the cursor.
  private func nextUpdates(_ id: Int) throws(MetadataError) -> [WatchUpdate] {
    guard let watcher = watchers[id], watcher.cursor <= revision else { return [] }
    try requireOnline()
    guard watcher.cursor >= compacted else { throw .compacted(at: compacted) }
    var updates: [WatchUpdate] = []
    var bytes = 0
    var next = revision.next
    let rows = try connection.prepare(
      "SELECT \(Self.columns) FROM entries WHERE id >= ?1 ORDER BY id")
    try rows.bind(.integer(Self.firstID(of: watcher.cursor)))
    defer { rows.reset() }
    while try rows.step() {
      guard watcher.keys.contains(rows.blob(5)) else { continue }
      let row = try keyValue(rows)
      if updates.last?.revision != row.modRevision {
        if bytes >= MetadataLimits.watchStepBytes || updates.count == MetadataLimits.watchStepRevisions {
          next = row.modRevision
          break
        }
        updates.append(WatchUpdate(revision: row.modRevision, events: []))
      }
      let event = try event(row, previous: watcher.previous)
      bytes += row.key.count + row.value.count + (event.previous?.value.count ?? 0)
      updates[updates.count - 1].events.append(event)
    }
    watchers[id]?.cursor = next
    return updates
  }

  private func event(_ row: KeyValue, previous wantsPrevious: Bool) throws(MetadataError) -> WatchEvent {
    WatchEvent(
      kind: row.createRevision == .zero ? .delete : .put, keyValue: row,
      previous: wantsPrevious ? try ended(row.key, at: row.modRevision) : nil)
  }

  /// The row of a key that ended with a revision; nil if it had none or that is compacted.
  private func ended(_ key: [UInt8], at revision: Revision) throws(MetadataError) -> KeyValue? {
    let rows = try connection.prepare(
      "SELECT \(Self.columns) FROM entries WHERE key = ?1 AND superseded = ?2")
    try rows.bind(.blob(key), .integer(revision.rawValue))
    defer { rows.reset() }
    return try rows.step() ? try keyValue(rows) : nil
  }
}
