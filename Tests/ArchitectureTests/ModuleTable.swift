/// The allowed edges of Skein, in one place. An arrow of architecture.md is a row here; nothing
/// points back. `EdgeTests` compares it with the package description (it must be equal) and with
/// every import in Sources (each must be a row).
struct ModuleRow {
  /// Modules of ours, of packages and of the system's C libraries that it may use.
  let uses: Set<String>
  /// Modules that come with the toolchain: Foundation, Glibc, Dispatch, Synchronization …
  let toolchain: Set<String>
  /// No NIO, no Foundation, no `Task`, no clock, no file, no random source.
  let isPure: Bool

  init(uses: [String], toolchain: [String] = [], isPure: Bool = false) {
    self.uses = Set(uses)
    self.toolchain = Set(toolchain)
    self.isPure = isPure
  }
}

enum ModuleTable {
  static let nio = ["NIOCore", "NIOPosix"]

  /// Every target under Sources that holds Swift or C of ours.
  static let rows: [String: ModuleRow] = [
    // C edge
    "CSkeinProto": ModuleRow(uses: ["CProtobufC", "CSkeinPluginProto"]),
    "CSkeinPluginProto": ModuleRow(uses: ["CProtobufC"]),
    "CSkeinShims": ModuleRow(uses: []),
    "COpenSSLShims": ModuleRow(uses: ["COpenSSL"]),
    "CSQLiteShims": ModuleRow(uses: ["CSQLite"]),
    "CSkeinPlugin": ModuleRow(uses: []),
    "CPluginSources": ModuleRow(uses: []),
    "CSkeinSandbox": ModuleRow(uses: ["CSeccomp"]),

    // Pure
    "SkeinCore": ModuleRow(uses: ["CSkeinShims"], toolchain: ["Synchronization"], isPure: true),
    "RecordFormat": ModuleRow(uses: ["SkeinCore", "CZstd", "CZlib", "CLZ4", "CSnappy"], isPure: true),
    "CommitLog": ModuleRow(
      uses: ["SkeinCore", "RecordFormat"], toolchain: ["Synchronization"], isPure: true),
    "GroupCoordination": ModuleRow(uses: ["SkeinCore"], isPure: true),

    // I/O
    "Wire": ModuleRow(uses: ["SkeinCore", "CSkeinProto", "CProtobufC"]),
    "DiskIO": ModuleRow(
      uses: ["SkeinCore", "CommitLog", "CSkeinShims"], toolchain: ["Glibc", "Synchronization"]),
    "Transport": ModuleRow(
      uses: ["SkeinCore", "COpenSSL", "COpenSSLShims", "CNGHTTP2", "CZlib"] + nio,
      toolchain: ["Glibc", "Synchronization"]),
    "MetadataStore": ModuleRow(
      uses: ["SkeinCore", "CommitLog", "CSQLite", "CSQLiteShims", "Wire", "Transport"] + nio,
      toolchain: ["Glibc", "Synchronization"]),
    // The development CA of `skeind --dev`: X.509 only, no SSL_*.
    "Certificates": ModuleRow(uses: ["SkeinCore", "COpenSSL"]),

    // Plug-ins. The kit sees the ABI and its messages, nothing else: an author builds it alone.
    "SkeinPluginKit": ModuleRow(
      uses: ["CSkeinPlugin", "CSkeinPluginProto", "CProtobufC"],
      toolchain: ["FoundationEssentials", "Glibc", "Synchronization"]),
    "PluginPackage": ModuleRow(
      uses: ["SkeinCore", "COpenSSL"], toolchain: ["Foundation", "Glibc", "Synchronization"]),
    "PluginABI": ModuleRow(
      uses: ["SkeinCore", "CSkeinPlugin", "CSkeinShims"], toolchain: ["Glibc", "Synchronization"]),
    "PluginRegistry": ModuleRow(
      uses: ["SkeinCore", "CommitLog", "MetadataStore", "PluginPackage", "Wire"],
      toolchain: ["Foundation", "Synchronization"]),
    "PluginHost": ModuleRow(
      uses: [
        "SkeinCore", "CommitLog", "DiskIO", "PluginPackage", "PluginABI", "CSkeinPlugin", "CSkeinShims",
        "Logging",
      ] + nio,
      toolchain: ["Foundation", "Glibc", "Synchronization"]),
    "PluginConformance": ModuleRow(
      uses: ["SkeinCore", "PluginPackage", "PluginABI", "CSkeinPlugin", "CSkeinShims", "Wire"],
      toolchain: ["Foundation", "Glibc", "Dispatch", "Synchronization"]),

    // Where consumer groups keep their offsets.
    "OffsetStorage": ModuleRow(
      uses: [
        "SkeinCore", "CommitLog", "GroupCoordination", "MetadataStore", "PluginHost", "PluginPackage", "Wire",
        "Logging",
      ] + nio,
      toolchain: ["Synchronization"]),

    // Edges
    "SkeinClient": ModuleRow(
      uses: [
        "SkeinCore", "RecordFormat", "Wire", "Transport", "Logging", "Metrics", "Tracing", "Configuration",
      ] + nio,
      toolchain: ["Foundation", "Glibc", "Synchronization"]),
    // JSON over HTTP for unary calls.
    "Gateway": ModuleRow(
      uses: ["SkeinCore", "Wire", "Transport"] + nio, toolchain: ["Foundation", "Synchronization"]),
    "Broker": ModuleRow(
      uses: [
        "SkeinCore", "RecordFormat", "CommitLog", "DiskIO", "MetadataStore", "Wire", "Transport", "Gateway",
        "PluginPackage", "PluginRegistry", "PluginHost", "GroupCoordination", "OffsetStorage", "CPCRE2",
        "Logging", "NIOHTTP1",
      ] + nio,
      toolchain: ["Foundation", "Glibc", "Synchronization"]),

    // A real broker in a user's test process.
    "SkeinTestKit": ModuleRow(
      uses: ["SkeinCore", "Broker", "Transport", "Certificates", "SkeinClient", "Logging"],
      toolchain: ["Foundation", "Synchronization"]),

    // Programs
    "skeind": ModuleRow(
      uses: [
        "SkeinCore", "Broker", "Certificates", "DiskIO", "Logging", "ArgumentParser", "Configuration", "Yams",
      ],
      toolchain: ["Foundation", "Glibc", "Dispatch", "Synchronization"]),
    "skein": ModuleRow(
      uses: [
        "SkeinCore", "SkeinClient", "Certificates", "PluginPackage", "PluginConformance", "CPluginSources",
        "ArgumentParser", "Yams", "Histogram",
      ],
      toolchain: ["Foundation", "Glibc", "Dispatch", "Synchronization"]),

    "skein-plugin-host": ModuleRow(
      uses: ["CSkeinPlugin", "CSkeinShims", "CSkeinSandbox", "PluginABI"],
      toolchain: ["Glibc", "Synchronization"]),

    // Deploy/examples see the SDK only, as a user would.
    "OrderService": ModuleRow(uses: ["SkeinClient", "Configuration"], toolchain: ["Foundation"]),
    "AuditSink": ModuleRow(uses: ["SkeinClient", "Configuration"], toolchain: ["Foundation"]),
    "FanOut": ModuleRow(uses: ["SkeinClient", "Configuration"], toolchain: ["Foundation"]),
    "GroupWorker": ModuleRow(uses: ["SkeinClient", "Configuration"], toolchain: ["Dispatch", "Foundation"]),

    // The simulator stands beside the pure modules: it may see nothing that does real I/O.
    "Simulation": ModuleRow(
      uses: ["SkeinCore", "RecordFormat", "CommitLog"], toolchain: ["Synchronization"], isPure: true),

    // Calls for make bench and the tests of limits.
    "CallDriver": ModuleRow(uses: ["SkeinCore", "Wire", "Transport"] + nio, toolchain: ["Synchronization"]),

    // The transport against spikes/h2tls.
    "TransportBench": ModuleRow(
      uses: ["SkeinCore", "Transport"] + nio, toolchain: ["Glibc", "Synchronization"]),

    // What a plug-in costs.
    "PluginBench": ModuleRow(
      uses: ["SkeinCore", "PluginPackage", "PluginHost", "Logging"] + nio,
      toolchain: ["Foundation", "Glibc", "Dispatch"]),

    // The suite of offset stores from the command line.
    "StoreDriver": ModuleRow(
      uses: [
        "SkeinCore", "DiskIO", "GroupCoordination", "OffsetStorage", "PluginHost", "PluginPackage", "Logging",
        "ArgumentParser",
      ] + nio, toolchain: ["Foundation", "Dispatch", "Synchronization"]),

    // Both ends of the gRPC conformance table.
    "ConformancePeer": ModuleRow(
      uses: ["SkeinCore", "Transport"] + nio, toolchain: ["Glibc", "Synchronization"]),

    // The driver of the kill tests sees the SDK only, as a user would, and signs certificates to replace.
    "KillDriver": ModuleRow(
      uses: ["SkeinClient", "Certificates", "ArgumentParser"], toolchain: ["Foundation", "Synchronization"]),
  ]

  /// System libraries (module maps only); they depend on nothing.
  static let systemLibraries: Set<String> = [
    "COpenSSL", "CProtobufC", "CNGHTTP2", "CSQLite", "CZstd", "CZlib", "CLZ4", "CSnappy",
    "CSeccomp", "CPCRE2",
  ]

  /// C modules with one owner: nobody else imports them, whatever the table of edges says.
  static let soleUser: [String: Set<String>] = [
    "COpenSSL": ["Transport", "COpenSSLShims", "Certificates", "PluginPackage"],
    "CSkeinPlugin": ["SkeinPluginKit", "PluginABI", "PluginHost", "PluginConformance", "skein-plugin-host"],
    "CSeccomp": ["CSkeinSandbox"],
    "CPluginSources": ["skein"],
    "CPCRE2": ["Broker"],
    "CSkeinSandbox": ["skein-plugin-host"],
    "COpenSSLShims": ["Transport"],
    "CNGHTTP2": ["Transport"],
    "CSkeinProto": ["Wire"],
    "CSkeinPluginProto": ["CSkeinProto", "SkeinPluginKit"],
    "CProtobufC": ["Wire", "CSkeinProto", "CSkeinPluginProto", "SkeinPluginKit"],
    "CSQLite": ["MetadataStore", "CSQLiteShims"],
    "CZstd": ["RecordFormat"],
    "CZlib": ["RecordFormat", "Transport"],
    "CLZ4": ["RecordFormat"],
    "CSnappy": ["RecordFormat"],
  ]

  /// What a client must never see (SkeinClient, skein): the broker's side of the house.
  static let brokerModules: Set<String> = [
    "Broker", "CommitLog", "DiskIO", "GroupCoordination", "MetadataStore", "OffsetStorage",
    "PluginRegistry",
  ]

  /// Parts of the toolchain that no pure module imports: clocks, files, threads, randomness.
  static let impure: Set<String> = [
    "Foundation", "FoundationEssentials", "Glibc", "Musl", "Darwin", "Dispatch", "NIO", "NIOCore", "NIOPosix",
    "NIOConcurrencyHelpers", "NIOHTTP1", "NIOFoundationCompat", "Logging",
  ]

  /// Modules in which file system calls may stand.
  static let fileSystemCallers: Set<String> = ["DiskIO"]

  /// Modules that may read configuration, keys and input with Foundation (never log data); the test kit makes
  /// and removes its temporary folder so.
  static let configurationReaders: Set<String> = ["skeind", "skein", "SkeinTestKit", "PluginConformance"]
}
