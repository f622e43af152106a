import OffsetStorage

extension MetricsPage {
  /// The stores beside `log`, which is part of the coordinators' own figures.
  mutating func addOffsetStores(_ context: BrokerContext) {
    let stores = context.groupOffsets.stores.all.map { ($0.name, $0.condition) }
    describe("skein_offset_store_up", "gauge", "1 when the store answers, or nobody has asked it yet.")
    for (name, condition) in stores {
      sample("skein_offset_store_up", [("store", name)], condition.problem == nil ? 1 : 0)
    }
    let counters: [(String, String, KeyPath<WatchedStore.Condition, UInt64>)] = [
      ("calls", "Calls that reached the store.", \.calls),
      ("failures", "Times that it did not answer, or did not open.", \.failures),
      ("conflicts", "Commits that it refused: somebody newer has committed.", \.conflicts),
      ("refused", "Calls that were refused at once because it was known to be down.", \.refused),
    ]
    for (what, help, value) in counters {
      describe("skein_offset_store_\(what)_total", "counter", help)
      for (name, condition) in stores {
        sample("skein_offset_store_\(what)_total", [("store", name)], condition[keyPath: value])
      }
    }
    describe("skein_offset_store_seconds_total", "counter", "Spent waiting for the store.")
    for (name, condition) in stores {
      sample("skein_offset_store_seconds_total", [("store", name)], Double(condition.nanoseconds) / 1e9)
    }
  }
}
