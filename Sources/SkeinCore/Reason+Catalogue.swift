/// The catalogue itself, in groups. Add a row here, to `catalogue`, and to Docs/errors.md.
extension Reason {
  // MARK: Requests

  public static let invalidRequest = Reason(
    "INVALID_REQUEST", .invalidArgument, .definite, retriable: false,
    "One or more fields of the request are wrong; every one is listed in BadRequest. Correct them and send again."
  )
  public static let malformedMessage = Reason(
    "MALFORMED_MESSAGE", .invalidArgument, .definite, retriable: false,
    "The bytes are not a valid protobuf message of the expected type (wrong wire type, invalid UTF-8, a NUL in a string, too many fields). Check the encoder."
  )
  public static let messageTooLarge = Reason(
    "MESSAGE_TOO_LARGE", .resourceExhausted, .definite, retriable: false,
    "A gRPC message exceeds the announced limit; it was refused before it was buffered. Send smaller messages or batches."
  )
  public static let methodUnknown = Reason(
    "METHOD_UNKNOWN", .unimplemented, .definite, retriable: false,
    "This broker has no such service or method. Compare the client's contract with the broker's version.")
  public static let serviceUnknown = Reason(
    "SERVICE_UNKNOWN", .notFound, .definite, retriable: false,
    "Health/Check was asked about a service that this broker does not have; the message lists those it has."
  )
  public static let encodingUnsupported = Reason(
    "ENCODING_UNSUPPORTED", .unimplemented, .definite, retriable: false,
    "The message is compressed with an encoding that the broker does not accept; grpc-accept-encoding lists those it does."
  )
  public static let framingInvalid = Reason(
    "FRAMING_INVALID", .internal, .definite, retriable: false,
    "A gRPC message breaks the framing or compression that its call announced: flagged as compressed without grpc-encoding, bytes that are not gzip, a stream that ends inside a message. Check the client library."
  )
  public static let deadlineExceeded = Reason(
    "DEADLINE_EXCEEDED", .deadlineExceeded, .unknown, retriable: true,
    "The call's deadline passed before its result was known. A publish may still become durable: retry it only idempotently."
  )
  public static let clientTooSlow = Reason(
    "CLIENT_TOO_SLOW", .deadlineExceeded, .unknown, retriable: true,
    "The client sent a message, or read its answers, more slowly than the broker's least rate, so that memory was held for nothing. Look for a client that is stopped or a link that is broken; a publish may still become durable."
  )
  public static let cancelled = Reason(
    "CANCELLED", .cancelled, .unknown, retriable: false,
    "The caller cancelled. What was already handed over may still become durable.")

  // MARK: JSON over HTTP

  public static let jsonInvalid = Reason(
    "JSON_INVALID", .invalidArgument, .definite, retriable: false,
    "The body is not JSON, or does not fit the message of this method by the proto JSON mapping; BadRequest lists every place by its path. Compare it with Docs/json-api.md or /v1/openapi.json."
  )
  public static let parameterInvalid = Reason(
    "PARAMETER_INVALID", .invalidArgument, .definite, retriable: false,
    "A part of the path, a query parameter or a header of a JSON request is unknown, malformed, given twice or of the wrong type; BadRequest names each."
  )
  public static let pathUnknown = Reason(
    "PATH_UNKNOWN", .notFound, .definite, retriable: false,
    "No resource of the JSON API has this path. The message names the nearest one; /v1/openapi.json lists all."
  )
  public static let httpMethodNotAllowed = Reason(
    "HTTP_METHOD_NOT_ALLOWED", .unimplemented, .definite, retriable: false,
    "The path exists, but not with this HTTP method (405); the `allow` header lists those it has.")
  public static let mediaTypeUnsupported = Reason(
    "MEDIA_TYPE_UNSUPPORTED", .invalidArgument, .definite, retriable: false,
    "A JSON request has a body whose content-type is not application/json in UTF-8 (415). Set the header: curl does with `--json`."
  )
  public static let notAcceptable = Reason(
    "NOT_ACCEPTABLE", .invalidArgument, .definite, retriable: false,
    "The `accept` header of a JSON request excludes application/json (406), which is all there is.")

  // MARK: Topics and partitions

  public static let topicNotFound = Reason(
    "TOPIC_NOT_FOUND", .notFound, .definite, retriable: false,
    "No topic of that name exists for this tenant. Create it, or check the spelling with `skein topic list`.")
  public static let partitionNotFound = Reason(
    "PARTITION_NOT_FOUND", .notFound, .definite, retriable: false,
    "The topic exists but has no partition of that number; the valid range is in the message.")
  public static let topicExists = Reason(
    "TOPIC_EXISTS", .alreadyExists, .definite, retriable: false,
    "A topic of that name exists already. Choose another name, or use the existing one.")
  public static let offsetOutOfRange = Reason(
    "OFFSET_OUT_OF_RANGE", .outOfRange, .definite, retriable: false,
    "The offset lies outside the log; metadata gives log_start_offset and high_watermark. The client's policy decides where to go on; the broker never jumps silently."
  )
  public static let logTruncated = Reason(
    "LOG_TRUNCATED", .outOfRange, .definite, retriable: false,
    "The log was cut below the position that the client had read (its last epoch ends earlier). Records seen beyond `end_offset` are gone; go on from there deliberately."
  )
  public static let topicLimit = Reason(
    "TOPIC_LIMIT", .resourceExhausted, .definite, retriable: false,
    "The broker or tenant has as many topics or partitions as it may. Delete some, or raise the limit.")

  // MARK: Batches and producers

  public static let batchCorrupt = Reason(
    "BATCH_CORRUPT", .invalidArgument, .definite, retriable: false,
    "The record batch fails its CRC32C or does not parse; nothing was appended. If it repeats, suspect the encoder or the client's memory."
  )
  public static let batchInvalid = Reason(
    "BATCH_INVALID", .invalidArgument, .definite, retriable: false,
    "The record batch is well formed but not acceptable (control or transactional bits, unknown codec, counts that do not agree); nothing was appended."
  )
  public static let batchTooLarge = Reason(
    "BATCH_TOO_LARGE", .resourceExhausted, .definite, retriable: false,
    "The record batch exceeds the topic's limit; nothing was appended. Send smaller batches.")
  public static let keyRequired = Reason(
    "KEY_REQUIRED", .invalidArgument, .definite, retriable: false,
    "A record has no key, and the topic is compacted (`cleanup.policy=compact`): without a key it would never be replaced. Nothing of the batch was appended. Give every record a key."
  )
  public static let recordTooLarge = Reason(
    "RECORD_TOO_LARGE", .resourceExhausted, .definite, retriable: false,
    "One record exceeds the record limit; nothing was appended. Store large objects elsewhere and publish a reference."
  )
  public static let timestampInvalid = Reason(
    "TIMESTAMP_INVALID", .invalidArgument, .definite, retriable: false,
    "A record's timestamp is negative or more than an hour ahead of the broker's clock (R60). Check the client's clock and unit: milliseconds since 1970."
  )
  public static let producerFenced = Reason(
    "INVALID_PRODUCER_EPOCH", .failedPrecondition, .definite, retriable: false,
    "A newer instance of this producer has taken over (P3). Stop this one.")
  public static let outOfOrderSequence = Reason(
    "OUT_OF_ORDER_SEQUENCE", .failedPrecondition, .definite, retriable: false,
    "A batch before this one is missing (P5); nothing was appended. Resend the missing batch first, or open a new producer."
  )
  public static let unknownProducer = Reason(
    "UNKNOWN_PRODUCER", .failedPrecondition, .definite, retriable: false,
    "The partition has no state for this producer id and the batch does not start at sequence 0 (P6). Open the producer stream again for a new id."
  )
  public static let tooManyInFlight = Reason(
    "TOO_MANY_IN_FLIGHT", .resourceExhausted, .definite, retriable: true,
    "More batches are in flight to a partition than the window announced when the stream opened (P7). Wait for acknowledgements."
  )
  public static let partitionerChanged = Reason(
    "PARTITIONER_CHANGED", .failedPrecondition, .definite, retriable: true,
    "The batch was partitioned under an older generation; no sequence was consumed. Refresh the topic, partition again, resend in order."
  )
  public static let acksTooWeak = Reason(
    "ACKS_TOO_WEAK", .failedPrecondition, .definite, retriable: false,
    "The request asks for a weaker acknowledgement than the topic's `min.acks` allows (R43).")
  public static let streamNotOpen = Reason(
    "STREAM_NOT_OPEN", .failedPrecondition, .definite, retriable: false,
    "The first message of a stream must be its `open`; this stream got something else, or a second `open`.")

  // MARK: State of the broker

  public static let overloaded = Reason(
    "OVERLOADED", .unavailable, .definite, retriable: true,
    "A bounded queue of the broker is full (R48) or its memory budget is spent. Try again after the time in RetryInfo."
  )
  public static let diskFull = Reason(
    "DISK_FULL", .resourceExhausted, .definite, retriable: true,
    "The log directory is above its high-water mark (R57); reads, deletes and retention go on. Free space, shorten retention, or add disk."
  )
  public static let logOffline = Reason(
    "LOG_OFFLINE", .unavailable, .unknown, retriable: true,
    "The log directory met an I/O error and was taken offline (R56); what was in flight may or may not be durable. See the broker's log."
  )
  public static let dataCorrupt = Reason(
    "DATA_CORRUPT", .dataLoss, .definite, retriable: false,
    "Stored bytes of this partition fail their checksum and are not a torn tail (R52). It stays offline until an operator accepts the loss or a healthy replica repairs it."
  )
  public static let partitionOnline = Reason(
    "PARTITION_ONLINE", .failedPrecondition, .definite, retriable: false,
    "The loss of a partition was to be accepted, but it is served: there is nothing to give up. Nothing was changed."
  )
  public static let batchUndecodable = Reason(
    "BATCH_UNDECODABLE", .dataLoss, .definite, retriable: false,
    "A stored batch cannot be decompressed or decoded; `next_offset` says where to go on.")
  public static let draining = Reason(
    "DRAINING", .unavailable, .definite, retriable: true,
    "The broker is stopping. Connect again; nothing of this request was applied.")
  public static let notReady = Reason(
    "NOT_READY", .unavailable, .definite, retriable: true,
    "The broker is still recovering its log. Try again shortly.")
  public static let metadataUnavailable = Reason(
    "METADATA_UNAVAILABLE", .unavailable, .unknown, retriable: true,
    "The metadata store did not answer in time; the change may have been made. Read before you retry (R11).")
  public static let conflict = Reason(
    "CONFLICT", .aborted, .definite, retriable: true,
    "Somebody else changed the same object at the same time. Read it again and repeat.")
  public static let connectionLost = Reason(
    "CONNECTION_LOST", .unavailable, .unknown, retriable: true,
    "The connection broke before the answer came (reported by the client). Only an idempotent retry may follow."
  )
  public static let unreachable = Reason(
    "UNREACHABLE", .unavailable, .definite, retriable: true,
    "No connection to a broker could be made (reported by the client). Check the address, and that skeind runs there."
  )
  public static let internalError = Reason(
    "INTERNAL", .internal, .unknown, retriable: false,
    "A defect of Skein. Please report it with the request id and the broker's log.")

  // MARK: Plug-ins

  public static let partitionerUnavailable = Reason(
    "PARTITIONER_UNAVAILABLE", .unavailable, .definite, retriable: true,
    "The topic's partitioner plug-in does not answer (crashed, hanging, quarantined) and its fallback is `reject`; nothing was published and no sequence was consumed. Try again; `skein plugin info` says what is wrong with it."
  )
  public static let swapInProgress = Reason(
    "SWAP_IN_PROGRESS", .aborted, .definite, retriable: true,
    "The topic is getting another partitioner right now. For a publisher: the fence holds the batch up, send it again shortly. For an operator: wait for the end, or look at `skein topic describe`."
  )
  public static let reorderNotAccepted = Reason(
    "REORDER_NOT_ACCEPTED", .failedPrecondition, .definite, retriable: false,
    "With the new partitioner keys move to other partitions, so that their records could be read out of order; the message says how many. Use --fence, or say --accept-reorder."
  )
  public static let noEarlierGeneration = Reason(
    "NO_EARLIER_GENERATION", .failedPrecondition, .definite, retriable: false,
    "The topic never had another partitioner that it could go back to."
  )
  public static let pluginNotFound = Reason(
    "PLUGIN_NOT_FOUND", .notFound, .definite, retriable: false,
    "No plug-in of this id and version is installed. `skein plugin list` shows those that are; install the package first."
  )
  public static let pluginRefused = Reason(
    "PLUGIN_REFUSED", .failedPrecondition, .definite, retriable: false,
    "A check before the load failed: policy, signature, manifest, platform, hash, ABI or symbols (metadata: check, file, cure). Nothing was stored, nothing of it was run."
  )
  public static let pluginProbeFailed = Reason(
    "PLUGIN_PROBE_FAILED", .failedPrecondition, .definite, retriable: false,
    "The plug-in was run in a child process to try it, and crashed, hung, or answered wrongly there. Nothing was installed or bound; ask its author, with the message."
  )
  public static let pluginExists = Reason(
    "PLUGIN_EXISTS", .alreadyExists, .definite, retriable: false,
    "This version is installed with other bytes. Versions never change: give the new one another version."
  )
  public static let pluginInUse = Reason(
    "PLUGIN_IN_USE", .failedPrecondition, .definite, retriable: false,
    "Topics or listeners use the plug-in (metadata: used_by). Give them another one first."
  )
  public static let pluginWrongKind = Reason(
    "PLUGIN_WRONG_KIND", .failedPrecondition, .definite, retriable: false,
    "The plug-in is of another kind than what is needed here, e.g. an authenticator where a partitioner is asked for."
  )
  public static let pluginConfigInvalid = Reason(
    "PLUGIN_CONFIG_INVALID", .invalidArgument, .definite, retriable: false,
    "The configuration does not fit the plug-in's schema, or the plug-in refused it; BadRequest lists every field. Nothing was changed."
  )
  public static let pluginDisabled = Reason(
    "PLUGIN_DISABLED", .failedPrecondition, .definite, retriable: false,
    "An operator has disabled this version. `skein plugin enable` lets it be used again."
  )
  public static let pluginQuarantined = Reason(
    "PLUGIN_QUARANTINED", .failedPrecondition, .definite, retriable: false,
    "The plug-in crashed or misbehaved too often and is not run any more; `skein plugin info` shows the faults. Fix it with a new version, or `skein plugin release` it."
  )
  public static let pluginFault = Reason(
    "PLUGIN_FAULT", .unavailable, .definite, retriable: true,
    "The plug-in crashed, hung, or gave an answer that no plug-in may give while it served this request."
  )
  public static let pluginLimit = Reason(
    "PLUGIN_LIMIT", .resourceExhausted, .definite, retriable: false,
    "A limit on plug-ins is reached (metadata: limit). Remove versions that nothing uses."
  )
  public static let pluginKeyNotFound = Reason(
    "PLUGIN_KEY_NOT_FOUND", .notFound, .definite, retriable: false,
    "No trusted key has this id. `skein plugin trust list` shows them."
  )

  // MARK: Groups

  public static let groupNotFound = Reason(
    "GROUP_NOT_FOUND", .notFound, .definite, retriable: false,
    "No group of that name exists for this tenant. It begins with its first member or its first committed offset; `skein group list` shows those there are."
  )
  public static let unknownMember = Reason(
    "UNKNOWN_MEMBER", .failedPrecondition, .definite, retriable: false,
    "The group has no member of this id: it left, or was removed. Drop all partitions without committing and join with a new id (G4)."
  )
  public static let staleMemberEpoch = Reason(
    "STALE_MEMBER_EPOCH", .failedPrecondition, .definite, retriable: false,
    "The epoch is not one of the member's present ones, or the partition was given to it later (G15). Nothing was applied. A member drops all partitions and joins anew; a commit is given up."
  )
  public static let memberExpired = Reason(
    "MEMBER_EXPIRED", .aborted, .definite, retriable: false,
    "The member was removed from its group; metadata `cause` says which time passed: session, stream, processing, revocation; or `dropped`. Drop all partitions and join with a new id. A slow application extends its processing deadline."
  )
  public static let memberQuarantined = Reason(
    "MEMBER_QUARANTINED", .unavailable, .definite, retriable: true,
    "The process was removed from its group too often in a short time and may not join for a while (G22; RetryInfo says how long). Look for what makes it hang or crash."
  )
  public static let unreleasedInstanceID = Reason(
    "UNRELEASED_INSTANCE_ID", .alreadyExists, .definite, retriable: true,
    "Another connected member has this instance id (G14). Stop it, or give this one another."
  )
  public static let unknownAssignor = Reason(
    "UNKNOWN_ASSIGNOR", .invalidArgument, .definite, retriable: false,
    "There is no assignor of that name: use sticky, range, round-robin or affinity:LABEL.")
  public static let groupLimit = Reason(
    "GROUP_LIMIT", .resourceExhausted, .definite, retriable: false,
    "A limit on groups is reached (metadata: what, limit): groups, members, names or patterns of a subscription, partitions, offsets. Remove some, or raise the limit."
  )
  public static let groupHasMembers = Reason(
    "GROUP_HAS_MEMBERS", .failedPrecondition, .definite, retriable: false,
    "Resetting, deleting, and committing without a member id are for groups without members (G16). Stop them first."
  )
  public static let notAssigned = Reason(
    "NOT_ASSIGNED", .failedPrecondition, .definite, retriable: false,
    "The offset of a partition was to be committed that the member does not have (any more). Whoever has it commits; commit before a partition is given back."
  )
  public static let commitBehind = Reason(
    "COMMIT_BEHIND", .failedPrecondition, .definite, retriable: false,
    "The group has committed a higher offset of this partition; a commit never goes back (G16; metadata: committed). An old commit may be forgotten; to read again, stop the group and reset its offsets."
  )
  public static let notCoordinator = Reason(
    "NOT_COORDINATOR", .unavailable, .unknown, retriable: true,
    "The broker lost the leadership of the group's log while the request was under way, or before (G20). Connect again; what was asked for may have been done."
  )
  public static let coordinatorLoading = Reason(
    "COORDINATOR_LOADING", .unavailable, .definite, retriable: true,
    "The coordinator of the group is still reading its log (G19). Try again shortly; members keep what they have."
  )

  public static let patternInvalid = Reason(
    "PATTERN_INVALID", .invalidArgument, .definite, retriable: false,
    "A regular expression of a subscription is not valid, or needs more work than is allowed (metadata: pattern, position, why). Correct it, or name the topics."
  )
  public static let noCommittedOffset = Reason(
    "NO_COMMITTED_OFFSET", .failedPrecondition, .definite, retriable: false,
    "The group has committed nothing of this partition, and the member asked to be told (reset: none). Seek, or reset the group's offsets."
  )
  public static let tooManyGaps = Reason(
    "TOO_MANY_GAPS", .resourceExhausted, .definite, retriable: false,
    "Too many records of a partition are acknowledged behind one that is not (metadata: limit, first_open). Acknowledge the first open one; what was refused must be acknowledged again."
  )
  public static let offsetStoreNotFound = Reason(
    "OFFSET_STORE_NOT_FOUND", .notFound, .definite, retriable: false,
    "The broker has no offset store of that name: use log, sqlite, or one that its configuration names (`offset-stores`). `skein group stores` shows them."
  )
  public static let offsetStoreUnavailable = Reason(
    "OFFSET_STORE_UNAVAILABLE", .unavailable, .unknown, retriable: true,
    "The group's offset store does not answer. A commit may have been stored; repeat it, it is harmless. Consumption goes on up to a bound (`groups.max-uncommitted`), then waits; nothing is lost or skipped."
  )
  public static let offsetsMoving = Reason(
    "OFFSETS_MOVING", .unavailable, .definite, retriable: true,
    "The group's offsets are being moved to another store. Try again; `skein group move-offsets` ends a move that was interrupted."
  )

  // MARK: Access

  public static let unauthenticated = Reason(
    "UNAUTHENTICATED", .unauthenticated, .definite, retriable: false,
    "The client certificate names no principal (`skein:<tenant>/<principal>` as a SAN URI).")
  public static let permissionDenied = Reason(
    "PERMISSION_DENIED", .permissionDenied, .definite, retriable: false,
    "The principal may not do this. Ask the tenant's administrator.")

  public static let authenticatorUnavailable = Reason(
    "AUTHENTICATOR_UNAVAILABLE", .unavailable, .definite, retriable: true,
    "The listener's authenticator plug-in is absent, crashed or too slow. Nobody is let in without it (fail closed). Try again; `skein plugin info` says what is wrong."
  )
  public static let tokenInvalid = Reason(
    "TOKEN_INVALID", .unauthenticated, .definite, retriable: false,
    "The bearer token is missing, malformed, unknown, revoked or expired; which of them is not told. Make a new one with `skein token create`."
  )
  public static let tokenNotFound = Reason(
    "TOKEN_NOT_FOUND", .notFound, .definite, retriable: false,
    "No token of this tenant has this id. `skein token list` shows them."
  )
  public static let tokenLimit = Reason(
    "TOKEN_LIMIT", .resourceExhausted, .definite, retriable: false,
    "The principal has two live tokens already, or the tenant its most (metadata: limit). Revoke one first."
  )

  /// Every reason, in the order of Docs/errors.md.
  public static let catalogue: [Reason] = [
    invalidRequest, malformedMessage, messageTooLarge, methodUnknown, serviceUnknown, encodingUnsupported,
    framingInvalid, deadlineExceeded, clientTooSlow, cancelled,
    jsonInvalid, parameterInvalid, pathUnknown, httpMethodNotAllowed, mediaTypeUnsupported, notAcceptable,
    topicNotFound, partitionNotFound, topicExists, offsetOutOfRange, logTruncated, topicLimit,
    batchCorrupt, batchInvalid, batchTooLarge, recordTooLarge, keyRequired, timestampInvalid, producerFenced,
    outOfOrderSequence, unknownProducer, tooManyInFlight, partitionerChanged,
    acksTooWeak, streamNotOpen,
    overloaded, diskFull, logOffline, dataCorrupt, partitionOnline, batchUndecodable, draining,
    notReady, metadataUnavailable, conflict, connectionLost,
    unreachable, internalError,
    partitionerUnavailable, swapInProgress, reorderNotAccepted, noEarlierGeneration, pluginNotFound,
    pluginRefused, pluginProbeFailed, pluginExists, pluginInUse, pluginWrongKind, pluginConfigInvalid,
    pluginDisabled, pluginQuarantined, pluginFault, pluginLimit, pluginKeyNotFound,
    groupNotFound, unknownMember, staleMemberEpoch, memberExpired, memberQuarantined, unreleasedInstanceID,
    unknownAssignor, groupLimit, groupHasMembers, notAssigned, commitBehind, notCoordinator,
    coordinatorLoading, patternInvalid, noCommittedOffset, tooManyGaps, offsetStoreNotFound,
    offsetStoreUnavailable, offsetsMoving,
    unauthenticated, permissionDenied, authenticatorUnavailable, tokenInvalid, tokenNotFound, tokenLimit,
  ]
}
