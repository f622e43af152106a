import CProtobufC
import CSkeinPluginProto

/// Calls `unpack` with the bytes, `read` with the message, and frees it.
private func decode<Message, Value>(
  _ bytes: UnsafeRawBufferPointer,
  _ unpack: (UnsafeMutablePointer<ProtobufCAllocator>?, Int, UnsafePointer<UInt8>?) -> UnsafeMutablePointer<
    Message
  >?,
  _ read: (Message) -> Value
) -> Value? {
  let start = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
  guard let message = unpack(nil, bytes.count, start) else { return nil }
  defer {
    message.withMemoryRebound(to: ProtobufCMessage.self, capacity: 1) {
      protobuf_c_message_free_unpacked($0, nil)
    }
  }
  return read(message.pointee)
}

private func text(_ pointer: UnsafeMutablePointer<CChar>?) -> String {
  pointer.map { String(cString: $0) } ?? ""
}

private func list<Message, Value>(
  _ pointers: UnsafeMutablePointer<UnsafeMutablePointer<Message>?>?, _ count: Int, _ read: (Message) -> Value
) -> [Value] {
  UnsafeBufferPointer(start: pointers, count: pointers == nil ? 0 : count).compactMap {
    $0.map { read($0.pointee) }
  }
}

extension StoredOffset {
  fileprivate init(_ message: Skein__Plugin__V1__StoredOffset) {
    self.init(
      topicID: text(message.topic_id), partition: message.partition, offset: message.offset,
      leaderEpoch: message.leader_epoch, metadata: text(message.metadata),
      committedMilliseconds: message.committed_ms, memberEpoch: message.member_epoch)
  }

  fileprivate func message(in arena: ProtoArena) throws -> Skein__Plugin__V1__StoredOffset {
    var message = Skein__Plugin__V1__StoredOffset()
    skein__plugin__v1__stored_offset__init(&message)
    message.topic_id = try arena.text(topicID)
    message.partition = partition
    message.offset = offset
    message.leader_epoch = leaderEpoch
    message.metadata = try arena.text(metadata)
    message.committed_ms = committedMilliseconds
    message.member_epoch = memberEpoch
    return message
  }
}

extension TopicPartition {
  fileprivate init(_ message: Skein__Plugin__V1__TopicPartitionName) {
    self.init(topicID: text(message.topic_id), partition: message.partition)
  }
}

extension CommitOffsets: ProtoReadable {
  init?(proto: UnsafeRawBufferPointer) {
    let read = decode(proto, skein__plugin__v1__commit_offsets__unpack) { message in
      CommitOffsets(
        tenant: text(message.tenant), group: text(message.group), memberEpoch: message.member_epoch,
        offsets: list(message.offsets, message.n_offsets) { StoredOffset($0) })
    }
    guard let read else { return nil }
    self = read
  }
}

extension FetchOffsets: ProtoReadable {
  init?(proto: UnsafeRawBufferPointer) {
    let read = decode(proto, skein__plugin__v1__fetch_offsets__unpack) { message in
      FetchOffsets(
        tenant: text(message.tenant), group: text(message.group),
        partitions: list(message.partitions, message.n_partitions) { TopicPartition($0) },
        token: text(message.token), limit: message.limit)
    }
    guard let read else { return nil }
    self = read
  }
}

extension ScanOffsets: ProtoReadable {
  init?(proto: UnsafeRawBufferPointer) {
    let read = decode(proto, skein__plugin__v1__scan_offsets__unpack) { message in
      ScanOffsets(tenant: text(message.tenant), token: text(message.token), limit: message.limit)
    }
    guard let read else { return nil }
    self = read
  }
}

extension RemoveOffsets: ProtoReadable {
  init?(proto: UnsafeRawBufferPointer) {
    let read = decode(proto, skein__plugin__v1__remove_offsets__unpack) { message in
      RemoveOffsets(
        tenant: text(message.tenant), group: text(message.group),
        partitions: list(message.partitions, message.n_partitions) { TopicPartition($0) })
    }
    guard let read else { return nil }
    self = read
  }
}

extension OffsetPage {
  /// The encoded `skein.plugin.v1.OffsetPage`.
  func proto() throws -> [UInt8] {
    let arena = ProtoArena()
    var page = Skein__Plugin__V1__OffsetPage()
    skein__plugin__v1__offset_page__init(&page)
    page.token = try arena.text(token)
    page.n_groups = groups.count
    page.groups = arena.messages(
      try groups.map { group in
        var message = Skein__Plugin__V1__GroupOffsets()
        skein__plugin__v1__group_offsets__init(&message)
        message.group = try arena.text(group.group)
        message.n_offsets = group.offsets.count
        message.offsets = arena.messages(try group.offsets.map { try $0.message(in: arena) })
        return message
      })
    return withExtendedLifetime(arena) { ProtoArena.encode(&page) }
  }
}
