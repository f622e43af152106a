import MetadataStore

/// What a metadata store should be, in the plainest way: every state of the whole store is kept.
/// Shares no code with the stores.
struct Model {
  private(set) var revision: Revision
  private(set) var states: [Revision: [KeyValue]]
  private(set) var history: [WatchUpdate] = []

  init(revision: Revision) {
    self.revision = revision
    states = [revision: []]
  }

  /// Why a transaction must be refused, nil if it must not.
  func refusal(_ transaction: Transaction) -> MetadataError.Kind? {
    for list in [transaction.success, transaction.failure] {
      var puts: [[UInt8]] = []
      for case .put(let key, _, _, _) in list { puts.append(key) }
      if Set(puts).count < puts.count { return .duplicateKey }
      for case .delete(let range, _) in list where puts.contains(where: { covers(range, $0) }) {
        return .duplicateKey
      }
    }
    return nil
  }

  mutating func apply(_ transaction: Transaction) -> TransactionResult? {
    if refusal(transaction) != nil { return nil }
    let now = states[revision]!
    let succeeded = transaction.compares.allSatisfy { holds($0, now) }
    var draft = Draft(state: now, revision: Revision(revision.rawValue + 1))
    var results: [OperationResult] = []
    for operation in succeeded ? transaction.success : transaction.failure {
      results.append(run(operation, &draft))
    }
    if !draft.events.isEmpty {
      revision = draft.revision
      states[revision] = draft.state
      history.append(WatchUpdate(revision: revision, events: draft.events))
    }
    return TransactionResult(succeeded: succeeded, revision: revision, results: results)
  }

  private struct Draft {
    var state: [KeyValue]
    let revision: Revision
    var events: [WatchEvent] = []
  }

  private func run(_ operation: Operation, _ draft: inout Draft) -> OperationResult {
    switch operation {
    case .put(let key, let value, let lease, let wantsPrevious):
      let old = draft.state.first { $0.key == key }
      draft.state.removeAll { $0.key == key }
      let new = KeyValue(
        key: key, value: value, createRevision: old?.createRevision ?? draft.revision,
        modRevision: draft.revision, version: (old?.version ?? 0) + 1, lease: lease)
      draft.state.append(new)
      draft.state.sort { $0.key.lexicographicallyPrecedes($1.key) }
      draft.events.append(WatchEvent(kind: .put, keyValue: new, previous: old))
      return .put(previous: wantsPrevious ? old : nil)
    case .delete(let range, let wantsPrevious):
      let gone = draft.state.filter { covers(range, $0.key) }
      draft.state.removeAll { covers(range, $0.key) }
      for old in gone {
        let mark = KeyValue(
          key: old.key, value: [], createRevision: .zero, modRevision: draft.revision, version: 0)
        draft.events.append(WatchEvent(kind: .delete, keyValue: mark, previous: old))
      }
      return .delete(count: gone.count, previous: wantsPrevious ? gone : [])
    case .range(let request):
      let newest = draft.events.isEmpty ? revision : draft.revision
      let state = request.revision == .zero ? draft.state : states[request.revision]!
      let all = state.filter { covers(request.keys, $0.key) }
      var shown = request.limit > 0 ? Array(all.prefix(request.limit)) : all
      if request.keysOnly { for at in shown.indices { shown[at].value = [] } }
      return .range(
        RangeResult(revision: newest, keyValues: shown, count: all.count, more: shown.count < all.count))
    }
  }

  private func holds(_ compare: Compare, _ state: [KeyValue]) -> Bool {
    let row = state.first { $0.key == compare.key }
    let order: Int
    switch compare.target {
    case .modRevision(let target): order = sign(row?.modRevision.rawValue ?? 0, target.rawValue)
    case .createRevision(let target): order = sign(row?.createRevision.rawValue ?? 0, target.rawValue)
    case .version(let target): order = sign(row?.version ?? 0, target)
    case .value(let target):
      guard let value = row?.value else { return false }
      order = value == target ? 0 : value.lexicographicallyPrecedes(target) ? -1 : 1
    }
    switch compare.relation {
    case .equal: return order == 0
    case .notEqual: return order != 0
    case .less: return order < 0
    case .greater: return order > 0
    }
  }

  private func sign(_ a: Int64, _ b: Int64) -> Int { a == b ? 0 : a < b ? -1 : 1 }

  private func covers(_ range: KeyRange, _ key: [UInt8]) -> Bool {
    let text = { (bytes: [UInt8]) in bytes.map { Int($0) } }
    guard case .below(let end) = range.end else { return key == range.start }
    return !text(key).lexicographicallyPrecedes(text(range.start))
      && text(key).lexicographicallyPrecedes(text(end))
  }
}
