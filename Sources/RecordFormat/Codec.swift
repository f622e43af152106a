/// How the records of a batch are compressed: bits 0-2 of its attributes.
public enum Codec: Int16, Sendable, Hashable, CaseIterable {
  case none = 0
  case gzip = 1
  case snappy = 2
  case lz4 = 3
  case zstd = 4

  /// Whether this build can write and read it. Others are known by name only and are refused.
  public var isSupported: Bool {
    switch self {
    case .none, .gzip, .zstd: true
    case .snappy, .lz4: false
    }
  }
}
