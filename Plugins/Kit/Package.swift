// swift-tools-version:6.2
//
// The plug-in kit as a package of its own: what a plug-in in Swift builds against, without the broker or any of its
// dependencies. Offset stores and authenticators need libprotobuf-c-dev; partitioners take the kit without its folder
// Calls (see ../Package.swift) and need nothing.
import PackageDescription

let package = Package(
  name: "Kit",
  products: [
    .library(name: "SkeinPluginKit", targets: ["SkeinPluginKit"]),
    .library(name: "CSkeinPlugin", targets: ["CSkeinPlugin"]),
  ],
  targets: [
    .target(name: "CSkeinPlugin"),
    .systemLibrary(name: "CProtobufC", pkgConfig: "libprotobuf-c", providers: [.apt(["libprotobuf-c-dev"])]),
    .target(name: "CSkeinPluginProto", dependencies: ["CProtobufC"]),
    .target(
      name: "SkeinPluginKit", dependencies: ["CSkeinPlugin", "CSkeinPluginProto", "CProtobufC"],
      swiftSettings: [
        .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"), .enableUpcomingFeature("MemberImportVisibility"),
      ]),
  ])
