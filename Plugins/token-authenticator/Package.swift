// swift-tools-version:6.2
//
// The authenticator for bearer tokens, built against the kit alone. `build.sh` makes the file; it gives the folder in
// which the static archives of libcrypto and libprotobuf-c lie alone, so that the plug-in takes them inside.
import PackageDescription

let package = Package(
  name: "token-authenticator",
  products: [.library(name: "token-authenticator", type: .dynamic, targets: ["TokenAuthenticator"])],
  dependencies: [.package(name: "Kit", path: "../Kit")],
  targets: [
    .target(name: "CTokenDigest", cSettings: [.unsafeFlags(["-fvisibility=hidden"])]),
    .target(
      name: "TokenAuthenticator",
      dependencies: [
        "CTokenDigest", .product(name: "SkeinPluginKit", package: "Kit"),
        .product(name: "CSkeinPlugin", package: "Kit"),
      ],
      swiftSettings: [
        .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"), .enableUpcomingFeature("MemberImportVisibility"),
        .treatAllWarnings(as: .error),
      ],
      linkerSettings: [
        .unsafeFlags(
          // Not by -Xlinker: only so does the folder come before the system's.
          ["-use-ld=lld", "-L\(Context.environment["SKEIN_STATIC_ARCHIVES"] ?? "/none")", "-lcrypto"]
            + [
              "--version-script=\(Context.packageDirectory)/../Kit/exports.map", "-z", "nodelete", "-z",
              "defs", "--gc-sections", "-s", "--exclude-libs=ALL",
            ].flatMap { ["-Xlinker", $0] })
      ]),
  ])
