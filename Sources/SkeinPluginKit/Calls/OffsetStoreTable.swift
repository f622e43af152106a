import CSkeinPlugin

/// An instance of an offset store behind the ABI.
private final class OffsetStoreBox: Sendable {
  let store: any OffsetStore
  let calls: OpenCalls

  init(_ store: any OffsetStore, _ calls: OpenCalls) {
    self.store = store
    self.calls = calls
  }

  /// The box of an instance; the host holds it for the time of the call, a task holds what it needs itself.
  static func at(_ raw: UnsafeMutableRawPointer?) -> OffsetStoreBox? {
    raw.map { Unmanaged<OffsetStoreBox>.fromOpaque($0).takeUnretainedValue() }
  }

  /// Reads the request, which is the host's only until this returns, and runs `body` with it.
  static func run<Request: ProtoReadable>(
    _ raw: UnsafeMutableRawPointer?, _ call: skein_call, _ deadline: UInt64, _ request: skein_bytes,
    _ body: @escaping @Sendable (any OffsetStore, Request, PluginCall) async throws -> [UInt8]
  ) {
    guard let box = at(raw) else { return }
    guard let request = Request(proto: request.buffer) else {
      box.calls.refuse(call, SKEIN_FAILED)
      return
    }
    let store = box.store
    box.calls.run(call, deadline) { try await body(store, request, $0) }
  }
}

extension Plugin.Kind {
  // Written once, where `export` takes its arguments: before the host has the table that reads it.
  nonisolated(unsafe) private static var makeOffsetStore: ((PluginContext) throws -> any OffsetStore)?

  static func offsetStore(make: @escaping (PluginContext) throws -> any OffsetStore) -> Plugin.Kind {
    makeOffsetStore = make
    var table = skein_offset_store()
    table.size = UInt32(MemoryLayout<skein_offset_store>.size)
    table.ops.create = { host, instance, config, out, why in
      Instances.create(host, instance, config, out, why) { context in
        guard let make = Plugin.Kind.makeOffsetStore else { throw PluginError.unsupported("no offset store") }
        guard context.host.canComplete else {
          throw PluginError.unsupported("the host has no skein.host.async/1")
        }
        return OffsetStoreBox(try make(context), OpenCalls(host: context.host))
      }
    }
    table.ops.quiesce = { raw, done in OffsetStoreBox.at(raw)?.calls.quiesce(done) }
    table.ops.destroy = { Instances.destroy($0) }
    table.commit = { raw, call, deadline, request in
      OffsetStoreBox.run(raw, call, deadline, request) { (store, request: CommitOffsets, call) in
        try await store.commit(request, call)
        return []
      }
    }
    table.fetch = { raw, call, deadline, request in
      OffsetStoreBox.run(raw, call, deadline, request) { (store, request: FetchOffsets, call) in
        try await store.fetch(request, call).proto()
      }
    }
    table.scan = { raw, call, deadline, request in
      OffsetStoreBox.run(raw, call, deadline, request) { (store, request: ScanOffsets, call) in
        try await store.scan(request, call).proto()
      }
    }
    table.remove = { raw, call, deadline, request in
      OffsetStoreBox.run(raw, call, deadline, request) { (store, request: RemoveOffsets, call) in
        try await store.remove(request, call)
        return []
      }
    }
    table.cancel = { raw, call in OffsetStoreBox.at(raw)?.calls.cancel(call) }
    return Plugin.Kind(SKEIN_OFFSET_STORE, table)
  }
}
