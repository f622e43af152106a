import SkeinCore
import Wire

/// Between the metadata store's values and etcd's messages.

extension KeyRange {
  /// etcd's `range_end`: empty for one key, a zero byte for all from the key on.
  var etcdEnd: [UInt8] {
    switch end {
    case .single: []
    // An empty end would mean something else to etcd; the range is empty in any case.
    case .below(let end): end.isEmpty ? start : end
    case .unbounded: [0]
    }
  }
}

extension EtcdRangeRequest {
  init(_ request: RangeRequest) {
    self.init(
      key: request.keys.start, rangeEnd: request.keys.etcdEnd, limit: Int64(max(0, request.limit)),
      revision: max(0, request.revision.rawValue), keysOnly: request.keysOnly,
      countOnly: request.countOnly)
  }
}

extension EtcdTxnRequest {
  init(_ transaction: Transaction) {
    self.init(
      compare: transaction.compares.map(EtcdCompare.init),
      success: transaction.success.map(EtcdRequestOp.init),
      failure: transaction.failure.map(EtcdRequestOp.init))
  }
}

extension EtcdCompare {
  init(_ compare: Compare) {
    let result: CompareResult =
      switch compare.relation {
      case .equal: .equal
      case .greater: .greater
      case .less: .less
      case .notEqual: .notEqual
      }
    switch compare.target {
    case .modRevision(let revision):
      self.init(result: result, target: .mod, key: compare.key, targetUnion: .modRevision(revision.rawValue))
    case .createRevision(let revision):
      self.init(
        result: result, target: .create, key: compare.key, targetUnion: .createRevision(revision.rawValue))
    case .version(let version):
      self.init(result: result, target: .version, key: compare.key, targetUnion: .version(version))
    case .value(let value):
      self.init(result: result, target: .value, key: compare.key, targetUnion: .value(value))
    }
  }
}

extension EtcdRequestOp {
  init(_ operation: Operation) {
    switch operation {
    case .put(let key, let value, let lease, let previous):
      self.init(
        request: .requestPut(
          EtcdPutRequest(key: key, value: value, lease: lease.rawValue, prevKv: previous)))
    case .delete(let keys, let previous):
      self.init(
        request: .requestDeleteRange(
          EtcdDeleteRangeRequest(key: keys.start, rangeEnd: keys.etcdEnd, prevKv: previous)))
    case .range(let request):
      self.init(request: .requestRange(EtcdRangeRequest(request)))
    }
  }
}

extension KeyValue {
  init(_ stored: EtcdKeyValue) {
    self.init(
      key: stored.key, value: stored.value, createRevision: Revision(stored.createRevision),
      modRevision: Revision(stored.modRevision), version: stored.version, lease: LeaseID(stored.lease))
  }
}

extension RangeResult {
  init(_ answer: EtcdRangeResponse) {
    self.init(
      revision: Revision(answer.header?.revision ?? 0), keyValues: answer.kvs.map(KeyValue.init),
      count: Int(clamping: answer.count), more: answer.more)
  }
}

extension TransactionResult {
  init(_ answer: EtcdTxnResponse) throws(MetadataError) {
    self.init(
      succeeded: answer.succeeded, revision: Revision(answer.header?.revision ?? 0), results: [])
    for response in answer.responses {
      switch response.response {
      case .responseRange(let range): results.append(.range(RangeResult(range)))
      case .responsePut(let put): results.append(.put(previous: put.prevKv.map(KeyValue.init)))
      case .responseDeleteRange(let deletion):
        results.append(
          .delete(
            count: Int(clamping: deletion.deleted), previous: deletion.prevKvs.map(KeyValue.init)))
      case nil:
        // It was applied; only we cannot tell what it answered.
        throw MetadataError(
          .unreadable, "etcd's answer holds a result of an unknown kind", outcome: .unknown)
      }
    }
  }
}

extension WatchEvent {
  /// nil for an event without a key, which etcd never sends.
  init?(_ event: EtcdEvent) {
    guard let kv = event.kv else { return nil }
    self.init(
      kind: event.type == .delete ? .delete : .put, keyValue: KeyValue(kv),
      previous: event.prevKv.map(KeyValue.init))
  }
}
