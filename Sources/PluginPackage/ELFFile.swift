package import SkeinCore

/// What a shared object says of itself, read without running anything of it.
///
/// It is read as the dynamic loader reads it, by program headers and the dynamic segment (Tool Interface Standard, ELF
/// 1.2; System V gABI), because section headers may lie; only the mark `.skein.abi` is a section. 64 bits, little-endian.
/// Every number comes from outside: each offset is checked against the file, each count against a limit.
package struct ELFFile: Sendable, Hashable {
  package enum Machine: UInt16, Sendable {
    case amd64 = 62
    case arm64 = 183

    /// As manifests say it.
    package var word: String {
      switch self {
      case .amd64: "amd64"
      case .arm64: "arm64"
      }
    }
  }

  /// The section `.skein.abi`.
  package struct Mark: Sendable, Hashable {
    /// "SKN1".
    package static let magic: UInt32 = 0x314e_4b53
    package var major: UInt32
    package var minor: UInt32
    package var pointerBits: UInt32
  }

  package private(set) var machine: Machine
  /// What others could link against, in byte order.
  package private(set) var exportedSymbols: [String] = []
  /// Libraries that must be there.
  package private(set) var needed: [String] = []
  /// It asks never to be unloaded (`-z nodelete`).
  package private(set) var isNoDelete = false
  package private(set) var hasExecutableStack = false
  package private(set) var hasTextRelocations = false
  /// The newest `GLIBC_` version that it needs; nil: none.
  package private(set) var glibcMinimum: LibraryVersion?
  package private(set) var abiMark: Mark?

  static let mostProgramHeaders = 64
  static let mostSectionHeaders = 512
  static let mostDynamicEntries = 1_024
  static let mostSymbols = 200_000
  static let mostExports = 10_000
  static let mostNameBytes = 4_096
  static let mostVersions = 1_024

  /// - Parameter file: the name for errors.
  /// - Throws: `PLUGIN_REFUSED` (check: symbols) for a file that is no shared object, or contradicts itself.
  package init(parsing bytes: UnsafeRawBufferPointer, file: String = "plugin.so") throws(Fault) {
    do throws(ELFProblem) {
      self = try ELFFile(ELFReader(bytes))
    } catch {
      throw Refusal.fault(
        .symbols, file: file, cause: "\(file) is no shared object that can be read: \(error.text)",
        cure: "Build it as a 64-bit ELF shared object (cc -shared -fPIC)")
    }
  }

  private init(_ reader: ELFReader) throws(ELFProblem) {
    guard try reader.u32(0) == 0x464c_457f else { throw ELFProblem(text: "it does not begin with 7f ELF") }
    guard try reader.u8(4) == 2, try reader.u8(5) == 1 else {
      throw ELFProblem(text: "it is not 64-bit little-endian")
    }
    guard try reader.u16(16) == 3 else { throw ELFProblem(text: "its type is not ET_DYN") }
    let number = try reader.u16(18)
    guard let machine = Machine(rawValue: number) else {
      throw ELFProblem(text: "it is for machine \(number), not amd64 (62) or arm64 (183)")
    }
    self.machine = machine
    let segments = try Segments(reader)
    hasExecutableStack = segments.hasExecutableStack
    let dynamic = try DynamicSegment(reader, segments)
    isNoDelete = dynamic.flags1 & 0x8 != 0
    hasTextRelocations = dynamic.hasTextRelocations
    for offset in dynamic.needed { needed.append(try dynamic.name(reader, at: offset)) }
    exportedSymbols = try Self.exports(reader, segments, dynamic)
    glibcMinimum = try Self.glibc(reader, segments, dynamic)
    abiMark = try Self.mark(reader)
  }

  // MARK: Symbols

  /// Symbols that the loader would find for others: defined, global or weak, default or protected visibility.
  private static func exports(
    _ reader: ELFReader, _ segments: Segments, _ dynamic: DynamicSegment
  ) throws(ELFProblem) -> [String] {
    guard let table = dynamic.symbols else { return [] }
    let start = try segments.offset(table)
    let count = try symbolCount(reader, segments, dynamic)
    guard count <= mostSymbols else { throw ELFProblem(text: "it has more than \(mostSymbols) symbols") }
    var names: [String] = []
    for index in 0..<count {
      let at = try reader.advance(start, by: index, of: 24)
      let info = try reader.u8(reader.plus(at, 4))
      let other = try reader.u8(reader.plus(at, 5))
      let section = try reader.u16(reader.plus(at, 6))
      // Local symbols, what is imported, and the names of versions (absolute) are no exports.
      let isGlobal = [1, 2, 10].contains(info >> 4)
      guard isGlobal, section != 0, section != 0xfff1, [0, 3].contains(other & 3) else { continue }
      names.append(try dynamic.name(reader, at: UInt64(try reader.u32(at))))
      guard names.count <= mostExports else {
        throw ELFProblem(text: "it exports more than \(mostExports) symbols")
      }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// The table of symbols has no length of its own: DT_HASH says it, DT_GNU_HASH ends with its longest chain.
  private static func symbolCount(
    _ reader: ELFReader, _ segments: Segments, _ dynamic: DynamicSegment
  ) throws(ELFProblem) -> Int {
    if let hash = dynamic.hash {
      return Int(try reader.u32(try reader.plus(try segments.offset(hash), 4)))
    }
    guard let hash = dynamic.gnuHash else { throw ELFProblem(text: "it has symbols and no hash table") }
    let start = try segments.offset(hash)
    let buckets = Int(try reader.u32(start))
    let first = Int(try reader.u32(try reader.plus(start, 4)))
    let words = Int(try reader.u32(try reader.plus(start, 8)))
    guard buckets <= mostSymbols, words <= mostSymbols, first <= mostSymbols else {
      throw ELFProblem(text: "its hash table is too large")
    }
    let bucketsAt = try reader.advance(try reader.plus(start, 16), by: words, of: 8)
    let chainsAt = try reader.advance(bucketsAt, by: buckets, of: 4)
    var last = 0
    for index in 0..<buckets {
      last = max(last, Int(try reader.u32(try reader.advance(bucketsAt, by: index, of: 4))))
    }
    guard last >= first, last > 0 else { return first }
    while last < mostSymbols {
      let chain = try reader.u32(try reader.advance(chainsAt, by: last - first, of: 4))
      last += 1
      if chain & 1 == 1 { return last }
    }
    throw ELFProblem(text: "a chain of its hash table does not end")
  }

  // MARK: Versions

  private static func glibc(
    _ reader: ELFReader, _ segments: Segments, _ dynamic: DynamicSegment
  ) throws(ELFProblem) -> LibraryVersion? {
    guard let table = dynamic.versionNeeds else { return nil }
    var newest: LibraryVersion?
    var at = try segments.offset(table)
    var seen = 0
    for _ in 0..<min(dynamic.versionNeedCount, UInt64(mostVersions)) {
      let count = try reader.u16(try reader.plus(at, 2))
      var entry = try reader.plus(at, Int(try reader.u32(try reader.plus(at, 8))))
      for _ in 0..<count {
        seen += 1
        guard seen <= mostVersions else {
          throw ELFProblem(text: "it needs more than \(mostVersions) versions")
        }
        let name = try dynamic.name(reader, at: UInt64(try reader.u32(try reader.plus(entry, 8))))
        if let version = glibcVersion(name) { newest = newest.map { max($0, version) } ?? version }
        let next = Int(try reader.u32(try reader.plus(entry, 12)))
        if next == 0 { break }
        entry = try reader.plus(entry, next)
      }
      let next = Int(try reader.u32(try reader.plus(at, 12)))
      if next == 0 { break }
      at = try reader.plus(at, next)
    }
    return newest
  }

  private static func glibcVersion(_ name: String) -> LibraryVersion? {
    // Relative relocations in packed form came with 2.36.
    if name == "GLIBC_ABI_DT_RELR" { return LibraryVersion("2.36") }
    return name.hasPrefix("GLIBC_") ? LibraryVersion(name.dropFirst(6)) : nil
  }

  // MARK: The mark

  private static func mark(_ reader: ELFReader) throws(ELFProblem) -> Mark? {
    let table = try reader.offset(40)
    let count = Int(try reader.u16(60))
    let names = Int(try reader.u16(62))
    guard table > 0, count > 0 else { return nil }
    guard try reader.u16(58) == 64, count <= mostSectionHeaders, names < count else {
      throw ELFProblem(text: "its table of sections is malformed")
    }
    let strings = try reader.offset(try reader.plus(try reader.advance(table, by: names, of: 64), 24))
    for index in 0..<count {
      let header = try reader.advance(table, by: index, of: 64)
      let nameAt = try reader.plus(strings, Int(try reader.u32(header)))
      guard try reader.matches(".skein.abi", at: nameAt) else { continue }
      let at = try reader.offset(try reader.plus(header, 24))
      guard try reader.u64(try reader.plus(header, 32)) >= 16, try reader.u32(at) == Mark.magic else {
        throw ELFProblem(text: "its section .skein.abi is not the mark SKN1")
      }
      return Mark(
        major: try reader.u32(try reader.plus(at, 4)), minor: try reader.u32(try reader.plus(at, 8)),
        pointerBits: try reader.u32(try reader.plus(at, 12)))
    }
    return nil
  }
}
