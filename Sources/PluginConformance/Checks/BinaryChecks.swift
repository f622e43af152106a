import PluginPackage

/// What the file says of itself, read without running any of it.
enum BinaryChecks {
  static let all: [Check] = [
    Check("binary.elf", "It is a 64-bit shared object for this machine, with an entry.") { context in
      let file = try elf(context)
      let here = ArtifactCheck.platform
      guard "linux/\(file.machine.word)" == here else {
        throw Broken(
          "the file is for \(file.machine.word), this machine is \(here)", cure: "compile it for \(here)")
      }
      guard file.exportedSymbols.contains(ArtifactCheck.entrySymbol) else {
        throw Broken(
          "the file exports no \(ArtifactCheck.entrySymbol)", cure: "define it with SKEIN_ENTRY before it")
      }
      return .passed()
    },
    Check("binary.symbols", "The entry is the only symbol that it exports.", after: ["binary.elf"]) {
      context in
      let others = try elf(context).exportedSymbols.filter { $0 != ArtifactCheck.entrySymbol }
      guard others.isEmpty else {
        let named = others.prefix(3).joined(separator: ", ")
        throw Broken(
          "the file exports \(others.count) other symbol(s): \(named)\(others.count > 3 ? " …" : "")",
          cure: "compile with -fvisibility=hidden, and link a static library with -Wl,--exclude-libs,ALL",
          measured: ["other_symbols": Double(others.count)])
      }
      return .passed()
    },
    Check("binary.nodelete", "It asks never to be unloaded.", after: ["binary.elf"]) { context in
      guard try elf(context).isNoDelete else {
        throw Broken("the file is not marked NODELETE", cure: "link with -Wl,-z,nodelete")
      }
      return .passed()
    },
    Check("binary.stack", "It does without an executable stack.", after: ["binary.elf"]) { context in
      guard try !elf(context).hasExecutableStack else {
        throw Broken(
          "the file asks for an executable stack",
          cure:
            "link with -Wl,-z,noexecstack, and take out nested functions and assembly without .note.GNU-stack"
        )
      }
      return .passed()
    },
    Check("binary.relocations", "Its code is not changed at load.", after: ["binary.elf"]) { context in
      guard try !elf(context).hasTextRelocations else {
        throw Broken("the file has relocations in its code", cure: "compile everything in it with -fPIC")
      }
      return .passed()
    },
    Check(
      "binary.libc", "It loads on the oldest C library that the manifest promises.", after: ["binary.elf"],
      libc),
    Check("binary.abi", "Its mark is of this ABI and of the manifest's.", after: ["binary.elf"], mark),
  ]

  private static func elf(_ context: CheckContext) throws -> ELFFile {
    do {
      return try context.bytes().withUnsafeBytes { try ELFFile(parsing: $0) }
    } catch {
      throw Broken("\(error)", cure: "build it as a 64-bit ELF shared object: cc -shared -fPIC")
    }
  }

  private static func libc(_ context: CheckContext) throws -> Finding {
    guard let needs = try elf(context).glibcMinimum else { return .passed() }
    let measured = ["glibc_minor": Double(needs.minor)]
    let claim = context.manifest.artifacts.first { $0.platform == ArtifactCheck.platform }?.libcMinimum
    if let claim, let least = LibraryVersion(claim), least < needs {
      throw Broken(
        "the file needs glibc \(needs), and the manifest promises that \(least) is enough",
        cure: "say libc_min \(needs) in the manifest, or build on an older system", measured: measured)
    }
    return .passed(measured)
  }

  private static func mark(_ context: CheckContext) throws -> Finding {
    let manifest = context.manifest
    guard let mark = try elf(context).abiMark else {
      throw Broken(
        "the file has no section .skein.abi", cure: "put SKEIN_PLUGIN_ABI_MARK; into one source file")
    }
    guard mark.pointerBits == 64 else {
      throw Broken("its mark says pointers of \(mark.pointerBits) bits", cure: "compile it for 64 bits")
    }
    guard mark.major == ArtifactCheck.abiMajor else {
      throw Broken(
        "the file is built for ABI major \(mark.major), the host has major \(ArtifactCheck.abiMajor)",
        cure: "compile it with this version's skein_plugin.h")
    }
    guard mark.major == manifest.abiMajor, mark.minor == manifest.abiMinor else {
      throw Broken(
        "the file is built for ABI \(mark.major).\(mark.minor), the manifest says \(manifest.abiMajor).\(manifest.abiMinor)",
        cure: "say \(mark.major).\(mark.minor) in the manifest's abi")
    }
    return .passed()
  }
}
