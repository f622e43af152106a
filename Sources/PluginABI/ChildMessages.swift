internal import CSkeinPlugin

/// The payloads of frames that are not plain bytes, with their limits. Encoding and decoding stand together; the order of
/// fields is that of Docs/formats/plugin-child.md.
package enum ChildMessages {}

/// First to the child.
package struct ChildHello: Sendable, Hashable {
  package var id: String
  package var pluginVersion: String
  package init(id: String, pluginVersion: String) {
    self.id = id
    self.pluginVersion = pluginVersion
  }

  package func frame() -> [UInt8] {
    var writer = FrameWriter(.hello)
    writer.put(ChildFrame.magic)
    writer.put(ChildFrame.version)
    writer.put(UInt16(0))
    writer.put(id)
    writer.put(pluginVersion)
    return writer.finish()
  }

  package init(parsing payload: UnsafeRawBufferPointer) throws(ChildFrame.Malformed) {
    var reader = FrameReader(payload)
    try ChildMessages.handshake(&reader)
    id = try reader.text(limit: 200)
    pluginVersion = try reader.text(limit: 100)
    try reader.end()
  }
}

/// First from the child: the sandbox is closed, nothing of the plug-in ran yet.
package struct ChildHelloed: Sendable, Hashable {
  /// The version of Landlock in force; 0 = none.
  package var landlock: UInt32
  package init(landlock: UInt32) { self.landlock = landlock }

  package func frame() -> [UInt8] {
    var writer = FrameWriter(.helloed)
    writer.put(ChildFrame.magic)
    writer.put(ChildFrame.version)
    writer.put(UInt16(0))
    writer.put(landlock)
    return writer.finish()
  }

  package init(parsing payload: UnsafeRawBufferPointer) throws(ChildFrame.Malformed) {
    var reader = FrameReader(payload)
    try ChildMessages.handshake(&reader)
    landlock = try reader.take(UInt32.self)
    try reader.end()
  }
}

extension ChildMessages {
  fileprivate static func handshake(_ reader: inout FrameReader) throws(ChildFrame.Malformed) {
    guard try reader.take(UInt32.self) == ChildFrame.magic else {
      throw ChildFrame.Malformed("the handshake has a wrong magic number")
    }
    let version = try reader.take(UInt16.self)
    guard version == ChildFrame.version, try reader.take(UInt16.self) == 0 else {
      throw ChildFrame.Malformed(
        "version \(version) of the child protocol, this side has \(ChildFrame.version): skeind and skein-plugin-host must come from one build"
      )
    }
  }

  /// `refused` and a failed `created`: a check's word and a sentence.
  package static func refusal(_ kind: ChildFrame.Kind, instance: UInt32, call: UInt64, _ refusal: LoadRefusal)
    -> [UInt8]
  {
    var writer = FrameWriter(kind, instance: instance, call: call)
    if kind == .created {
      writer.put(UInt8(1))
      writer.put(UInt32(0))
    }
    writer.put(refusal.check.rawValue)
    writer.put(String(refusal.message.prefix(1_000)))
    return writer.finish()
  }

  package static func refusal(_ reader: inout FrameReader) throws(ChildFrame.Malformed) -> LoadRefusal {
    let word = try reader.text(limit: 32)
    let message = try reader.text(limit: 8_000)
    try reader.end()
    guard let check = LoadRefusal.Check(rawValue: word) else {
      throw ChildFrame.Malformed("a check that is not known")
    }
    return LoadRefusal(check, message)
  }

  /// `created`, well: the table's flags.
  package static func created(instance: UInt32, call: UInt64, flags: UInt32) -> [UInt8] {
    var writer = FrameWriter(.created, instance: instance, call: call)
    writer.put(UInt8(0))
    writer.put(flags)
    return writer.finish()
  }

  package static func created(_ payload: UnsafeRawBufferPointer) throws(ChildFrame.Malformed)
    -> Result<UInt32, LoadRefusal>
  {
    var reader = FrameReader(payload)
    let failed = try reader.take(UInt8.self)
    let flags = try reader.take(UInt32.self)
    guard failed == 0 else { return .failure(try refusal(&reader)) }
    try reader.end()
    return .success(flags)
  }

  package static func completed(
    instance: UInt32, call: UInt64, status: Int32, _ result: UnsafeRawBufferPointer
  )
    -> [UInt8]
  {
    var writer = FrameWriter(.completed, instance: instance, call: call, capacity: result.count + 4)
    writer.put(status)
    writer.put(raw: result)
    return writer.finish()
  }

  package static func log(_ line: LogRing.Line) -> [UInt8] {
    var writer = FrameWriter(.log, instance: UInt32(truncatingIfNeeded: line.instance))
    writer.put(line.level)
    writer.put(sized: Array(line.message.utf8.prefix(LogRing.lineLimit)))
    return writer.finish()
  }

  package static func log(_ payload: UnsafeRawBufferPointer, instance: UInt32) throws(ChildFrame.Malformed)
    -> LogRing.Line
  {
    var reader = FrameReader(payload)
    let level = try reader.take(Int32.self)
    let message = try reader.text(limit: LogRing.lineLimit)
    try reader.end()
    guard (SKEIN_LOG_DEBUG...SKEIN_LOG_ERROR).contains(level) else {
      throw ChildFrame.Malformed("a log level of \(level)")
    }
    return LogRing.Line(instance: UInt64(instance), level: level, message: message)
  }
}

/// Makes an instance.
package struct ChildCreate: Sendable, Hashable {
  /// The ABI's id of the kind.
  package var kind: String
  /// One JSON object.
  package var config: [UInt8]
  package var members: [ConfigTable.Member]

  package init(kind: String, config: [UInt8], members: [ConfigTable.Member]) {
    self.kind = kind
    self.config = config
    self.members = members
  }

  package func frame(instance: UInt32, call: UInt64) -> [UInt8] {
    var writer = FrameWriter(.create, instance: instance, call: call, capacity: config.count + 256)
    writer.put(kind)
    writer.put(sized: config)
    writer.put(UInt32(members.count))
    for member in members {
      writer.put(member.path)
      writer.put(sized: member.value)
    }
    return writer.finish()
  }

  package init(parsing payload: UnsafeRawBufferPointer) throws(ChildFrame.Malformed) {
    var reader = FrameReader(payload)
    kind = try reader.text(limit: 64)
    config = Array(try reader.sized(limit: ConfigTable.byteLimit))
    let count = Int(try reader.take(UInt32.self))
    guard count <= ConfigTable.memberLimit else { throw ChildFrame.Malformed("\(count) members") }
    members = []
    for _ in 0..<count {
      let path = try reader.text(limit: 1_024)
      members.append(
        ConfigTable.Member(path: path, value: Array(try reader.sized(limit: ConfigTable.byteLimit))))
    }
    try reader.end()
  }
}

/// The answer to a ping: what the child counted, and the plug-in's series.
package struct ChildPong: Sendable, Hashable {
  package var calls = CallTable.Counts()
  package var droppedLines: UInt64 = 0
  package var samples: [MetricTable.Sample] = []

  package init() {}

  package func frame(call: UInt64) -> [UInt8] {
    var writer = FrameWriter(.pong, call: call, capacity: 64 + samples.count * 200)
    for value in [
      calls.completed, calls.late, calls.double, calls.unknown, calls.badStatus, calls.tooLong, droppedLines,
    ] {
      writer.put(value)
    }
    writer.put(UInt32(samples.count))
    for sample in samples {
      writer.put(sample.instance)
      writer.put(sample.kind.rawValue)
      writer.put(sample.name)
      writer.put(sample.unit)
      writer.put(sample.value.bitPattern)
      writer.put(sample.count)
      writer.put(UInt32(sample.buckets.count))
      for bucket in sample.buckets { writer.put(bucket) }
    }
    return writer.finish()
  }

  package init(parsing payload: UnsafeRawBufferPointer) throws(ChildFrame.Malformed) {
    var reader = FrameReader(payload)
    calls.completed = try reader.take(UInt64.self)
    calls.late = try reader.take(UInt64.self)
    calls.double = try reader.take(UInt64.self)
    calls.unknown = try reader.take(UInt64.self)
    calls.badStatus = try reader.take(UInt64.self)
    calls.tooLong = try reader.take(UInt64.self)
    droppedLines = try reader.take(UInt64.self)
    let count = Int(try reader.take(UInt32.self))
    guard count <= MetricTable.total else { throw ChildFrame.Malformed("\(count) series") }
    for _ in 0..<count { samples.append(try Self.sample(&reader)) }
    try reader.end()
  }

  private static func sample(_ reader: inout FrameReader) throws(ChildFrame.Malformed) -> MetricTable.Sample {
    let instance = try reader.take(UInt64.self)
    guard let kind = MetricTable.Kind(rawValue: try reader.take(Int32.self)) else {
      throw ChildFrame.Malformed("a series of an unknown kind")
    }
    let name = try reader.text(limit: 64)
    let unit = try reader.text(limit: 16)
    guard MetricTable.isName(name), ["", "seconds", "bytes"].contains(unit) else {
      throw ChildFrame.Malformed("a series with a name or unit that is not allowed")
    }
    let value = Double(bitPattern: try reader.take(UInt64.self))
    let count = try reader.take(UInt64.self)
    let buckets = Int(try reader.take(UInt32.self))
    guard buckets == (kind == .histogram ? MetricTable.bounds.count + 1 : 0) else {
      throw ChildFrame.Malformed("\(buckets) buckets")
    }
    var filled: [UInt64] = []
    for _ in 0..<buckets { filled.append(try reader.take(UInt64.self)) }
    return MetricTable.Sample(
      instance: instance, kind: kind, name: name, unit: unit, value: value, count: count, buckets: filled)
  }
}
