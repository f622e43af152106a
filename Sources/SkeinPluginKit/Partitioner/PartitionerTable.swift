public import CSkeinPlugin

/// An instance of a partitioner behind the ABI.
@usableFromInline
final class PartitionerBox {
  @usableFromInline
  typealias Place = (UnsafePointer<skein_topic>, UnsafePointer<skein_records>, UnsafeMutablePointer<Int32>) ->
    Void

  let place: Place

  @usableFromInline
  init(_ place: @escaping Place) { self.place = place }
}

extension Plugin.Kind {
  // Written once, where `export` takes its arguments: before the host has the table that reads it.
  nonisolated(unsafe) private static var make: ((PluginContext) throws -> PartitionerBox)?

  @usableFromInline
  static func partitioner(isPure: Bool, make: @escaping (PluginContext) throws -> PartitionerBox)
    -> Plugin.Kind
  {
    self.make = make
    var table = skein_partitioner()
    table.size = UInt32(MemoryLayout<skein_partitioner>.size)
    table.flags = isPure ? SKEIN_PARTITIONER_PURE : 0
    table.ops.create = { host, instance, config, out, why in
      Instances.create(host, instance, config, out, why) { context in
        guard let make = Plugin.Kind.make else { throw PluginError.unsupported("no partitioner") }
        return try make(context)
      }
    }
    table.ops.destroy = { Instances.destroy($0) }
    table.batch = { raw, topic, records, out in
      guard let raw, let topic, let records, let out else { return }
      // The host holds the instance for the time of the call: no retain.
      Unmanaged<PartitionerBox>.fromOpaque(raw)._withUnsafeGuaranteedRef { $0.place(topic, records, out) }
    }
    return Plugin.Kind(SKEIN_PARTITIONER, table)
  }
}
