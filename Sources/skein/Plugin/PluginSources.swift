import CPluginSources

/// Files of Skein's sources that are inside the program, by their path in the repository: what `skein plugin new` writes.
enum PluginSources {
  /// Sorted.
  static let paths = Array(all().map { String(cString: $0.path) })

  /// What stands in a file; nil: it is not inside.
  static func text(_ path: String) -> String? {
    all().first { String(cString: $0.path) == path }.map {
      String(decoding: UnsafeBufferPointer(start: $0.bytes, count: $0.size), as: UTF8.self)
    }
  }

  private static func all() -> some Sequence<skein_plugin_source> {
    sequence(state: 0) { (index: inout Int) -> skein_plugin_source? in
      defer { index += 1 }
      return skein_plugin_source_at(index)?.pointee
    }
  }
}
