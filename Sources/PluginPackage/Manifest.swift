/// What the author says of a plug-in; the signed part of a package. Docs/formats/plugin-package.md has the fields, their
/// limits and an example.
package struct Manifest: Sendable, Hashable {
  package var reference: PluginReference
  package var kinds: [PluginKind]
  package var abiMajor: UInt32
  package var abiMinor: UInt32
  /// Host services that must be there: "skein.host.log/1".
  package var requires: [String]
  /// A JSON Schema (the subset of Docs/formats/plugin-package.md) as JSON text; nil: no configuration is taken.
  package var configSchema: String?
  package var artifacts: [Artifact]
  /// "c", "embedded", "swift-static", "swift-6.3.1".
  package var runtime: String
  /// Partitioner: the answer depends on its input alone.
  package var isPure: Bool
  /// Partitioner: names of the headers that it looks at, at most 8.
  package var headers: [String]
  /// Partitioner: it looks at timestamps.
  package var needsTimestamps: Bool
  /// Needs the grant `network`.
  package var needsNetwork: Bool
  /// Files and folders that it reads, absolute; at most 16.
  package var paths: [String]
  /// Memory that it may take, in MiB: 16 to 4,096.
  package var memoryMegabytes: Int
  package var publisher: String
  /// Where the source is: a URL and a revision. May be empty.
  package var builtFrom: String

  package init(
    reference: PluginReference, kinds: [PluginKind], abiMajor: UInt32 = 1, abiMinor: UInt32 = 0,
    requires: [String] = [], configSchema: String? = nil, artifacts: [Artifact], runtime: String,
    isPure: Bool = false, headers: [String] = [], needsTimestamps: Bool = false, needsNetwork: Bool = false,
    paths: [String] = [], memoryMegabytes: Int = 64, publisher: String, builtFrom: String = ""
  ) {
    self.reference = reference
    self.kinds = kinds
    self.abiMajor = abiMajor
    self.abiMinor = abiMinor
    self.requires = requires
    self.configSchema = configSchema
    self.artifacts = artifacts
    self.runtime = runtime
    self.isPure = isPure
    self.headers = headers
    self.needsTimestamps = needsTimestamps
    self.needsNetwork = needsNetwork
    self.paths = paths
    self.memoryMegabytes = memoryMegabytes
    self.publisher = publisher
    self.builtFrom = builtFrom
  }

  /// The file for one platform.
  package struct Artifact: Sendable, Hashable {
    /// "linux".
    package var os: String
    /// "amd64", "arm64".
    package var architecture: String
    /// The least glibc: "2.36"; nil: any.
    package var libcMinimum: String?
    package var size: Int
    /// Hexadecimal.
    package var sha256: String

    package init(os: String, architecture: String, libcMinimum: String?, size: Int, sha256: String) {
      self.os = os
      self.architecture = architecture
      self.libcMinimum = libcMinimum
      self.size = size
      self.sha256 = sha256
    }
  }
}
