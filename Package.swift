// swift-tools-version:6.2
//
// The module graph of Skein. Dependencies point one way only; the table of
// allowed edges lives in Tests/ArchitectureTests and is compared with this file
// and with every import in Sources.
import PackageDescription

// Every target of ours is held to the same rules (style habit 25).
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
]

// MARK: C edge

let systemLibraries: [Target] = [
  .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
  .systemLibrary(
    name: "CProtobufC", pkgConfig: "libprotobuf-c", providers: [.apt(["libprotobuf-c-dev"])]),
  .systemLibrary(name: "CNGHTTP2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
  .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
  .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
  .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
  .systemLibrary(name: "CSnappy", pkgConfig: "snappy", providers: [.apt(["libsnappy-dev"])]),
  .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
  .systemLibrary(name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
  .systemLibrary(name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
]

let cTargets: [Target] = [
  .target(name: "CSkeinProto", dependencies: ["CProtobufC", "CSkeinPluginProto"]),
  // What plug-ins take along of it: the messages of offset stores and authenticators.
  .target(name: "CSkeinPluginProto", dependencies: ["CProtobufC"]),
  .target(name: "CSkeinShims"),
  .target(name: "COpenSSLShims", dependencies: ["COpenSSL"]),
  .target(name: "CSQLiteShims", dependencies: ["CSQLite"]),
  // The plug-in ABI: one header.
  .target(name: "CSkeinPlugin"),
  // What `skein plugin new` writes, taken from where it stands.
  .target(name: "CPluginSources"),
  // What a plug-in's process gives up, in C: it runs before anything else of that process.
  .target(name: "CSkeinSandbox", dependencies: ["CSeccomp"]),
]

// MARK: Pure modules: no NIO, no Foundation, no Task, no clock, no file, no random source

let pure: [Target] = [
  .target(name: "SkeinCore", dependencies: ["CSkeinShims"], swiftSettings: strict),
  .target(
    name: "RecordFormat", dependencies: ["SkeinCore", "CZstd", "CZlib", "CLZ4", "CSnappy"],
    swiftSettings: strict),
  .target(name: "CommitLog", dependencies: ["SkeinCore", "RecordFormat"], swiftSettings: strict),
  .target(name: "GroupCoordination", dependencies: ["SkeinCore"], swiftSettings: strict),
]

// MARK: I/O modules

let nio: [Target.Dependency] = [
  .product(name: "NIOCore", package: "swift-nio"),
  .product(name: "NIOPosix", package: "swift-nio"),
]

let io: [Target] = [
  .target(
    name: "Wire", dependencies: ["SkeinCore", "CSkeinProto", "CProtobufC"], swiftSettings: strict),
  .target(
    name: "DiskIO", dependencies: ["SkeinCore", "CommitLog", "CSkeinShims"], swiftSettings: strict),
  .target(
    name: "Transport",
    dependencies: ["SkeinCore", "COpenSSL", "COpenSSLShims", "CNGHTTP2", "CZlib"] + nio,
    swiftSettings: strict),
  .target(
    name: "MetadataStore",
    dependencies: [
      "SkeinCore", "CommitLog", "CSQLite", "CSQLiteShims", "Wire", "Transport",
    ] + nio, swiftSettings: strict),
]

// Keys and certificates of `skeind --dev` and of tests.
let certificates: [Target] = [
  .target(name: "Certificates", dependencies: ["SkeinCore", "COpenSSL"], swiftSettings: strict)
]

// MARK: Plug-ins

let plugins: [Target] = [
  // For authors: Swift protocols over the ABI. Sees nothing else of ours.
  .target(
    name: "SkeinPluginKit", dependencies: ["CSkeinPlugin", "CSkeinPluginProto", "CProtobufC"],
    swiftSettings: strict),
  // The package, its manifest, its signature, what an ELF file says of itself; shared by broker and CLI.
  .target(name: "PluginPackage", dependencies: ["SkeinCore", "COpenSSL"], swiftSettings: strict),
  // Loading a file and calling its tables, in whichever process.
  // No Foundation, no OpenSSL, no NIO: it is most of skein-plugin-host, which starts in milliseconds.
  .target(
    name: "PluginABI", dependencies: ["SkeinCore", "CSkeinPlugin", "CSkeinShims"], swiftSettings: strict),
  // What is installed, who is trusted: the content-addressed store and the catalogue.
  .target(
    name: "PluginRegistry",
    dependencies: ["SkeinCore", "CommitLog", "MetadataStore", "PluginPackage", "Wire"], swiftSettings: strict),
  // Instances, in the broker or in children.
  .target(
    name: "PluginHost",
    dependencies: [
      "SkeinCore", "CommitLog", "DiskIO", "PluginPackage", "PluginABI", "CSkeinPlugin", "CSkeinShims",
      .product(name: "Logging", package: "swift-log"),
    ] + nio, swiftSettings: strict),
  // `skein plugin test`: the checks, each in a fresh child.
  .target(
    name: "PluginConformance",
    dependencies: ["SkeinCore", "PluginPackage", "PluginABI", "CSkeinPlugin", "CSkeinShims", "Wire"],
    swiftSettings: strict),
]

// Where consumer groups keep their offsets: one protocol, the embedded store, and the plug-ins behind it.
let offsets: [Target] = [
  .target(
    name: "OffsetStorage",
    dependencies: [
      "SkeinCore", "CommitLog", "GroupCoordination", "MetadataStore", "PluginHost", "PluginPackage", "Wire",
      .product(name: "Logging", package: "swift-log"),
    ] + nio, swiftSettings: strict)
]

// MARK: Edges

let edges: [Target] = [
  .target(
    name: "SkeinClient",
    dependencies: [
      "SkeinCore", "RecordFormat", "Wire", "Transport",
      .product(name: "Logging", package: "swift-log"),
      .product(name: "Metrics", package: "swift-metrics"),
      .product(name: "Tracing", package: "swift-distributed-tracing"),
      .product(name: "Configuration", package: "swift-configuration"),
    ] + nio, swiftSettings: strict),
  // JSON over HTTP for unary calls: the protobuf JSON mapping, driven by the descriptors.
  .target(
    name: "Gateway", dependencies: ["SkeinCore", "Wire", "Transport"] + nio, swiftSettings: strict),
  .target(
    name: "Broker",
    dependencies: [
      "SkeinCore", "RecordFormat", "CommitLog", "DiskIO", "MetadataStore", "Wire", "Transport", "Gateway",
      "PluginPackage", "PluginRegistry", "PluginHost", "GroupCoordination", "OffsetStorage", "CPCRE2",
      .product(name: "Logging", package: "swift-log"),
      .product(name: "NIOHTTP1", package: "swift-nio"),
    ] + nio, swiftSettings: strict),
]

// A real broker inside a user's test process.
let testKit: [Target] = [
  .target(
    name: "SkeinTestKit",
    dependencies: [
      "SkeinCore", "Broker", "Transport", "Certificates", "SkeinClient",
      .product(name: "Logging", package: "swift-log"),
    ], swiftSettings: strict)
]

// MARK: Programs

let programs: [Target] = [
  .executableTarget(
    name: "skeind",
    dependencies: [
      "SkeinCore", "Broker", "Certificates", "DiskIO",
      .product(name: "Logging", package: "swift-log"),
      .product(name: "ArgumentParser", package: "swift-argument-parser"),
      .product(name: "Configuration", package: "swift-configuration"),
      .product(name: "Yams", package: "Yams"),
    ], swiftSettings: strict),
  .executableTarget(
    name: "skein",
    dependencies: [
      "SkeinCore", "SkeinClient", "Certificates", "PluginPackage", "PluginConformance", "CPluginSources",
      .product(name: "ArgumentParser", package: "swift-argument-parser"),
      .product(name: "Yams", package: "Yams"),
      .product(name: "Histogram", package: "hdrhistogram-swift"),
    ], swiftSettings: strict),
  // The child in which a plug-in runs.
  .executableTarget(
    name: "skein-plugin-host",
    dependencies: ["CSkeinPlugin", "CSkeinShims", "CSkeinSandbox", "PluginABI"],
    path: "Sources/skein-plugin-host", swiftSettings: strict),
]

// Deploy/examples: what a user would write, built and run in CI.
let examples: [Target] = ["OrderService", "AuditSink", "FanOut", "GroupWorker"].map { name in
  .executableTarget(
    name: name,
    dependencies: ["SkeinClient", .product(name: "Configuration", package: "swift-configuration")],
    path: "Deploy/examples/swift/\(name)", swiftSettings: strict)
}

// MARK: Tests

let tests: [Target] = [
  .target(
    name: "Simulation",
    dependencies: ["SkeinCore", "RecordFormat", "CommitLog"],
    path: "Tests/Simulation", swiftSettings: strict),
  .executableTarget(
    name: "KillDriver",
    dependencies: [
      "SkeinClient", "Certificates", .product(name: "ArgumentParser", package: "swift-argument-parser"),
    ],
    path: "Tests/kill/driver", swiftSettings: strict),
  .executableTarget(
    name: "CallDriver", dependencies: ["SkeinCore", "Wire", "Transport"] + nio, path: "Tests/driver",
    swiftSettings: strict),
  // What a plug-in costs; and one that takes its process down, for the tests of breadcrumbs.
  .executableTarget(
    name: "PluginBench",
    dependencies: [
      "SkeinCore", "PluginPackage", "PluginHost", .product(name: "Logging", package: "swift-log"),
    ] + nio, path: "Tests/PluginBench", swiftSettings: strict),
  // The suite of offset stores, and a load on one, from the command line: Tests/stores uses it with real servers.
  .executableTarget(
    name: "StoreDriver",
    dependencies: [
      "SkeinCore", "DiskIO", "GroupCoordination", "OffsetStorage", "PluginHost", "PluginPackage",
      .product(name: "Logging", package: "swift-log"),
      .product(name: "ArgumentParser", package: "swift-argument-parser"),
    ] + nio, path: "Tests/StoreDriver", swiftSettings: strict),
  .testTarget(name: "ArchitectureTests", dependencies: ["SkeinCore"], swiftSettings: strict),
  .testTarget(name: "SkeinCoreTests", dependencies: ["SkeinCore"], swiftSettings: strict),
  .testTarget(
    name: "RecordFormatTests", dependencies: ["SkeinCore", "RecordFormat"],
    resources: [.copy("Golden")], swiftSettings: strict),
  .testTarget(
    name: "CommitLogTests",
    dependencies: ["SkeinCore", "RecordFormat", "CommitLog", "Simulation", "DiskIO"],
    swiftSettings: strict),
  .testTarget(
    name: "GroupCoordinationTests", dependencies: ["SkeinCore", "GroupCoordination"],
    resources: [.copy("Golden")], swiftSettings: strict),
  .testTarget(
    name: "WireTests", dependencies: ["SkeinCore", "Wire", "CSkeinProto", "CProtobufC"],
    swiftSettings: strict),
  .testTarget(
    name: "TransportTests",
    dependencies: [
      "SkeinCore", "Transport", "CNGHTTP2", "CZlib", "COpenSSL", "COpenSSLShims", "Certificates",
      .product(name: "NIOEmbedded", package: "swift-nio"),
    ] + nio,
    exclude: ["Interop/stock_client.py", "FrameTable.txt"], swiftSettings: strict),
  // Both ends of the gRPC conformance table, driven by Tests/interop/conformance.
  .executableTarget(
    name: "ConformancePeer", dependencies: ["SkeinCore", "Transport"] + nio, path: "Tests/conformance",
    swiftSettings: strict),
  .executableTarget(
    name: "TransportBench", dependencies: ["SkeinCore", "Transport"] + nio, path: "Tests/TransportBench",
    swiftSettings: strict),
  .testTarget(
    name: "MetadataStoreTests",
    dependencies: [
      "SkeinCore", "MetadataStore", "DiskIO", "CommitLog", "Simulation", "Transport", "Wire", "Certificates",
    ]
      + nio, swiftSettings: strict),
  .testTarget(
    name: "SkeinPluginKitTests", dependencies: ["SkeinPluginKit", "CSkeinPlugin", "Wire"],
    resources: [.copy("Golden")], swiftSettings: strict),
  .testTarget(
    name: "PluginPackageTests", dependencies: ["SkeinCore", "PluginPackage", "COpenSSL"],
    exclude: ["Golden"], swiftSettings: strict),
  .testTarget(
    name: "PluginRegistryTests",
    dependencies: [
      "SkeinCore", "CommitLog", "MetadataStore", "PluginPackage", "PluginRegistry", "Simulation", "DiskIO",
    ], swiftSettings: strict),
  // Every store passes the same suite; those of Plugins/ do so against the real servers (Tests/stores).
  .testTarget(
    name: "OffsetStorageTests",
    dependencies: [
      "SkeinCore", "CommitLog", "GroupCoordination", "MetadataStore", "OffsetStorage", "PluginHost",
      "PluginPackage", "Wire",
      "Simulation",
      "DiskIO", .product(name: "Logging", package: "swift-log"),
    ] + nio, swiftSettings: strict),
  .testTarget(
    name: "PluginHostTests",
    dependencies: [
      "SkeinCore", "PluginPackage", "PluginABI", "PluginHost", "CSkeinPlugin", "CSkeinShims",
      .product(name: "Logging", package: "swift-log"),
    ] + nio,
    exclude: ["Plugins"], swiftSettings: strict),
  .testTarget(
    name: "PluginConformanceTests",
    dependencies: ["SkeinCore", "PluginPackage", "PluginABI", "PluginConformance"], swiftSettings: strict),
  .testTarget(
    name: "GatewayTests", dependencies: ["SkeinCore", "Wire", "Transport", "Gateway"] + nio,
    swiftSettings: strict),
  .testTarget(
    name: "SkeinClientTests",
    dependencies: ["SkeinCore", "RecordFormat", "Wire", "SkeinClient", "GroupCoordination", "Certificates"],
    swiftSettings: strict),
  .testTarget(
    name: "SkeinTestKitTests",
    dependencies: [
      "SkeinTestKit", "SkeinClient", .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
      .product(name: "Tracing", package: "swift-distributed-tracing"),
      .product(name: "MetricsTestKit", package: "swift-metrics"),
      .product(name: "Configuration", package: "swift-configuration"),
    ], swiftSettings: strict),
  // The code of SkeinClient.docc, compiled and run.
  .testTarget(
    name: "DocumentationTests",
    dependencies: [
      "SkeinTestKit", "SkeinClient", .product(name: "Tracing", package: "swift-distributed-tracing"),
      .product(name: "Configuration", package: "swift-configuration"),
    ], swiftSettings: strict),
  .testTarget(
    name: "BrokerTests",
    dependencies: [
      "SkeinCore", "RecordFormat", "CommitLog", "Wire", "Transport", "MetadataStore", "Broker",
      "SkeinClient", "Certificates", "Simulation", "PluginHost", "PluginPackage", "GroupCoordination",
      "OffsetStorage",
      .product(name: "Logging", package: "swift-log"),
      .product(name: "NIOEmbedded", package: "swift-nio"),
    ] + nio, swiftSettings: strict),
]

let package = Package(
  name: "skein",
  products: [
    .library(name: "SkeinClient", targets: ["SkeinClient"]),
    .library(name: "SkeinTestKit", targets: ["SkeinTestKit"]),
    .executable(name: "skeind", targets: ["skeind"]),
    .executable(name: "skein", targets: ["skein"]),
    .executable(name: "skein-plugin-host", targets: ["skein-plugin-host"]),
    .library(name: "SkeinPluginKit", targets: ["SkeinPluginKit"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: systemLibraries + cTargets + pure + io + certificates + plugins + offsets + edges + testKit
    + programs
    + examples
    + tests
)
