/// Why a file cannot be read as ELF.
struct ELFProblem: Error, Sendable {
  let text: String
}

/// Numbers at offsets of a file, each checked against its end. Offsets are never negative and never wrap.
struct ELFReader {
  private let bytes: UnsafeRawBufferPointer

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  func u8(_ at: Int) throws(ELFProblem) -> UInt8 { try load(at) }
  func u16(_ at: Int) throws(ELFProblem) -> UInt16 { UInt16(littleEndian: try load(at)) }
  func u32(_ at: Int) throws(ELFProblem) -> UInt32 { UInt32(littleEndian: try load(at)) }
  func u64(_ at: Int) throws(ELFProblem) -> UInt64 { UInt64(littleEndian: try load(at)) }

  /// A 64-bit field that is an offset into the file.
  func offset(_ at: Int) throws(ELFProblem) -> Int { try inside(try u64(at)) }

  func plus(_ at: Int, _ more: Int) throws(ELFProblem) -> Int {
    let (sum, overflow) = at.addingReportingOverflow(more)
    guard !overflow, sum >= 0, sum <= bytes.count else { throw Self.outside }
    return sum
  }

  func advance(_ at: Int, by count: Int, of size: Int) throws(ELFProblem) -> Int {
    let (product, overflow) = count.multipliedReportingOverflow(by: size)
    guard !overflow else { throw Self.outside }
    return try plus(at, product)
  }

  func inside(_ value: UInt64) throws(ELFProblem) -> Int {
    guard value <= UInt64(bytes.count) else { throw Self.outside }
    return Int(value)
  }

  /// The text at `at`, up to its NUL.
  func text(_ at: Int) throws(ELFProblem) -> String {
    var end = at
    while try u8(end) != 0 {
      end = try plus(end, 1)
      guard end - at <= ELFFile.mostNameBytes else {
        throw ELFProblem(text: "a name has more than \(ELFFile.mostNameBytes) bytes")
      }
    }
    return String(decoding: bytes[at..<end], as: UTF8.self)
  }

  func matches(_ name: String, at: Int) throws(ELFProblem) -> Bool {
    var at = at
    for byte in name.utf8 {
      guard try u8(at) == byte else { return false }
      at = try plus(at, 1)
    }
    return try u8(at) == 0
  }

  private func load<N: FixedWidthInteger & BitwiseCopyable>(_ at: Int) throws(ELFProblem) -> N {
    guard at >= 0, at <= bytes.count - MemoryLayout<N>.size else { throw Self.outside }
    return bytes.loadUnaligned(fromByteOffset: at, as: N.self)
  }

  private static let outside = ELFProblem(text: "it points behind its own end")
}

/// The program headers: which bytes of the file are mapped where.
struct Segments {
  private struct Load {
    let address: UInt64
    let offset: Int
    let size: UInt64
  }
  private var loads: [Load] = []
  private(set) var dynamic: (at: Int, bytes: Int)?
  /// Without the header that says otherwise, the loader makes stacks executable.
  private(set) var hasExecutableStack = true

  init(_ reader: ELFReader) throws(ELFProblem) {
    let table = try reader.offset(32)
    let count = Int(try reader.u16(56))
    guard try reader.u16(54) == 56, (1...ELFFile.mostProgramHeaders).contains(count) else {
      throw ELFProblem(text: "its table of program headers is malformed")
    }
    for index in 0..<count {
      let header = try reader.advance(table, by: index, of: 56)
      let kind = try reader.u32(header)
      let flags = try reader.u32(try reader.plus(header, 4))
      if kind == 0x6474_e551 { hasExecutableStack = flags & 1 != 0 }
      guard kind == 1 || kind == 2 else { continue }
      let offset = try reader.offset(try reader.plus(header, 8))
      let address = try reader.u64(try reader.plus(header, 16))
      let size = try reader.u64(try reader.plus(header, 32))
      _ = try reader.plus(offset, try reader.inside(size))
      if kind == 1 { loads.append(Load(address: address, offset: offset, size: size)) }
      if kind == 2 { dynamic = (offset, try reader.inside(size)) }
    }
  }

  /// Where in the file an address lies.
  func offset(_ address: UInt64) throws(ELFProblem) -> Int {
    for load in loads where address >= load.address && address - load.address < load.size {
      return load.offset + Int(address - load.address)
    }
    throw ELFProblem(text: "it points to memory that it does not have")
  }
}

/// What the loader needs to know.
struct DynamicSegment {
  private(set) var symbols: UInt64?
  private(set) var hash: UInt64?
  private(set) var gnuHash: UInt64?
  private(set) var versionNeeds: UInt64?
  private(set) var versionNeedCount: UInt64 = 0
  private(set) var flags1: UInt64 = 0
  private(set) var hasTextRelocations = false
  private(set) var needed: [UInt64] = []
  private var strings = 0
  private var stringBytes: UInt64 = 0

  init(_ reader: ELFReader, _ segments: Segments) throws(ELFProblem) {
    guard let segment = segments.dynamic else { throw ELFProblem(text: "it has no dynamic segment") }
    var stringTable: UInt64?
    let count = segment.bytes / 16
    guard count <= ELFFile.mostDynamicEntries else {
      throw ELFProblem(text: "its dynamic segment is too large")
    }
    for index in 0..<count {
      let entry = try reader.advance(segment.at, by: index, of: 16)
      let value = try reader.u64(try reader.plus(entry, 8))
      let tag = try reader.u64(entry)
      if tag == 0 { break }
      switch tag {
      case 1: needed.append(value)
      case 4: hash = value
      case 5: stringTable = value
      case 6: symbols = value
      case 10: stringBytes = value
      case 22: hasTextRelocations = true
      case 30: hasTextRelocations = hasTextRelocations || value & 4 != 0
      case 0x6fff_fef5: gnuHash = value
      case 0x6fff_fffb: flags1 = value
      case 0x6fff_fffe: versionNeeds = value
      case 0x6fff_ffff: versionNeedCount = value
      default: break
      }
    }
    guard let stringTable else { throw ELFProblem(text: "it has no table of strings") }
    strings = try segments.offset(stringTable)
    _ = try reader.plus(strings, try reader.inside(stringBytes))
  }

  /// A name of the table of strings.
  func name(_ reader: ELFReader, at offset: UInt64) throws(ELFProblem) -> String {
    guard offset < stringBytes else { throw ELFProblem(text: "a name lies outside its table of strings") }
    return try reader.text(try reader.plus(strings, Int(offset)))
  }
}
