// swift-tools-version:6.2
//
// Our partitioners in Swift, built against the kit alone. `build.sh` makes the files; plug-ins in C are built by cc.
import PackageDescription

/// One exported symbol, nothing undefined, never unloaded. (The Swift runtime comes inside by -Xswiftc -static-stdlib,
/// which the kit must see as well: `build.sh` gives it.)
let link: [LinkerSetting] = [
  .unsafeFlags(
    ["-use-ld=lld"]
      + [
        "--version-script=\(Context.packageDirectory)/Kit/exports.map", "-z", "nodelete", "-z", "defs",
        "--gc-sections", "-s",
      ].flatMap { ["-Xlinker", $0] })
]
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"), .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
]

func plugin(_ name: String, _ folder: String) -> Target {
  .target(
    name: name, dependencies: ["SkeinPluginKit", "CSkeinPlugin"], path: folder, exclude: ["manifest.json"],
    swiftSettings: strict, linkerSettings: link)
}

let package = Package(
  name: "Plugins",
  products: [
    .library(name: "weighted", type: .dynamic, targets: ["Weighted"]),
    .library(name: "affinity", type: .dynamic, targets: ["Affinity"]),
  ],
  targets: [
    .target(name: "CSkeinPlugin"),
    // Without Calls, which asynchronous kinds alone need, and with it protobuf-c.
    .target(
      name: "SkeinPluginKit", dependencies: ["CSkeinPlugin"], exclude: ["Calls"], swiftSettings: strict),
    plugin("Weighted", "weighted"), plugin("Affinity", "affinity"),
  ])
