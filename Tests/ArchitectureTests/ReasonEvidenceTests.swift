import SkeinCore
import Testing

/// Every reason of the catalogue is produced somewhere in Sources, and has a test that provokes it: the one
/// named here, whose text speaks of that reason. That it is documented, DocumentTests says.
@Suite struct ReasonEvidenceTests {
  @Test func everyReasonIsReachableAndTested() throws {
    let catalogue = try Repository.text("Sources/SkeinCore/Reason+Catalogue.swift")
    let sources = try Repository.files(in: "Sources", extensions: ["swift"]).filter {
      !$0.hasSuffix("Reason+Catalogue.swift")
    }.map { try Repository.text($0) }
    let found = ReasonEvidence.violations(
      names: Reason.catalogue.map(\.name), catalogue: catalogue, sources: sources,
      evidence: ReasonEvidence.all,
      file: { try? Repository.text("Tests/" + $0) })
    #expect(found.isEmpty, "\(violationList(found))")
  }

  @Test func refusesReasonsWithoutASourceATestOrARow() {
    let catalogue = """
      public static let moonPhase = Reason(
        "MOON_PHASE", .unavailable
      """
    func check(
      _ names: [String] = ["MOON_PHASE"], source: String = "throw Fault(.moonPhase, text)",
      evidence: [String: (file: String, test: String)] = ["MOON_PHASE": ("a.swift", "rises")],
      test: String? = "@Test func rises() { #expect(fault.reason == .moonPhase) }"
    ) -> Int {
      ReasonEvidence.violations(
        names: names, catalogue: catalogue, sources: [source], evidence: evidence, file: { _ in test }
      ).count
    }
    #expect(check() == 0)
    #expect(check(test: "def rises():\n    assert reason == 'MOON_PHASE'") == 0)
    #expect(check(source: "throw Fault(.moonPhases, text)") == 1)
    #expect(check(evidence: [:]) == 1)
    #expect(check([], evidence: ["MOON_PHASE": ("a.swift", "rises")]) == 1)
    #expect(check(test: nil) == 1)
    #expect(check(test: "@Test func sets() { .moonPhase }") == 1)
    // The reason must stand in that test, not in the next one.
    #expect(check(test: "@Test func rises() {}\n@Test func sets() { .moonPhase }") == 1)
  }
}

enum ReasonEvidence {
  static let all: [String: (file: String, test: String)] = [
    "INVALID_REQUEST": ("BrokerTests/TopicsTests.swift", "everyProblemComesAtOnce"),
    "MALFORMED_MESSAGE": ("interop/test_access.py", "test_malformed_messages_are_explained"),
    "MESSAGE_TOO_LARGE": (
      "interop/test_publish_fetch.py", "test_a_message_over_the_limit_is_refused_with_the_limit"
    ),
    "METHOD_UNKNOWN": ("interop/test_publish_fetch.py", "test_unknown_methods_are_unimplemented"),
    "TOKEN_INVALID": ("BrokerTests/TokenTests.swift", "whatIsNotAGoodTokenIsDenied"),
    "AUTHENTICATOR_UNAVAILABLE": ("BrokerTests/TokenTests.swift", "failsClosed"),
    "TOKEN_LIMIT": ("BrokerTests/TokenTests.swift", "limitsAndMistakes"),
    "TOKEN_NOT_FOUND": ("BrokerTests/TokenTests.swift", "limitsAndMistakes"),
    "SERVICE_UNKNOWN": ("BrokerTests/ReasonTests.swift", "anUnknownServiceHasNoHealth"),
    "ENCODING_UNSUPPORTED": ("interop/test_publish_fetch.py", "test_compressed_requests_are_taken"),
    "FRAMING_INVALID": ("BrokerTests/ReasonTests.swift", "everyCauseOfTheTransportIsExplained"),
    "DEADLINE_EXCEEDED": ("BrokerTests/ReasonTests.swift", "everyCauseOfTheTransportIsExplained"),
    "CLIENT_TOO_SLOW": ("BrokerTests/ReasonTests.swift", "everyCauseOfTheTransportIsExplained"),
    "CANCELLED": ("WireTests/FaultStatusTests.swift", "foreignStatusesFallBackToTheCode"),
    "JSON_INVALID": ("GatewayTests/MappingTests.swift", "unknownFieldsNameTheNearest"),
    "PARAMETER_INVALID": ("GatewayTests/RoutingTests.swift", "refusals"),
    "PATH_UNKNOWN": ("GatewayTests/RoutingTests.swift", "refusals"),
    "HTTP_METHOD_NOT_ALLOWED": ("GatewayTests/RoutingTests.swift", "refusals"),
    "MEDIA_TYPE_UNSUPPORTED": ("GatewayTests/RoutingTests.swift", "refusals"),
    "NOT_ACCEPTABLE": ("GatewayTests/RoutingTests.swift", "refusals"),
    "TOPIC_NOT_FOUND": ("BrokerTests/TopicsTests.swift", "createDescribeListDelete"),
    "PARTITION_NOT_FOUND": ("BrokerTests/PublishTests.swift", "errorsStandBesideTheRecordTheyConcern"),
    "TOPIC_EXISTS": ("BrokerTests/TopicsTests.swift", "everyProblemComesAtOnce"),
    "OFFSET_OUT_OF_RANGE": ("BrokerTests/PublishTests.swift", "offsetsOutsideTheLogSayWhatIsValid"),
    "LOG_TRUNCATED": (
      "CommitLogTests/LogAppendTests.swift", "memoryTopicsAreVisibleAtOnceAndMayLoseTheirEnd"
    ),
    "TOPIC_LIMIT": ("BrokerTests/AddPartitionsTests.swift", "thereIsNoWayDownAndALimitUp"),
    "BATCH_CORRUPT": ("BrokerTests/StreamTests.swift", "badBatchesAreRefusedAndTheStreamLives"),
    "BATCH_INVALID": ("BrokerTests/StreamTests.swift", "badBatchesAreRefusedAndTheStreamLives"),
    "BATCH_TOO_LARGE": ("BrokerTests/TopicUpdateTests.swift", "limitsBindOpenStreams"),
    "RECORD_TOO_LARGE": ("BrokerTests/PublishTests.swift", "errorsStandBesideTheRecordTheyConcern"),
    "KEY_REQUIRED": ("BrokerTests/CompactionTests.swift", "recordsWithoutAKeyAreRefused"),
    "TIMESTAMP_INVALID": ("BrokerTests/PublishTests.swift", "errorsStandBesideTheRecordTheyConcern"),
    "INVALID_PRODUCER_EPOCH": ("BrokerTests/ReasonTests.swift", "anOlderEpochIsFenced"),
    "OUT_OF_ORDER_SEQUENCE": (
      "BrokerTests/StreamTests.swift", "batchesAreAcknowledgedInOrderAndRetriesDeduplicated"
    ),
    "UNKNOWN_PRODUCER": ("BrokerTests/StreamTests.swift", "badBatchesAreRefusedAndTheStreamLives"),
    "TOO_MANY_IN_FLIGHT": ("CommitLogTests/LogProducerTests.swift", "theWindowBoundsBatchesInFlight"),
    "PARTITIONER_UNAVAILABLE": (
      "BrokerTests/PartitionerPluginTests.swift", "withoutAnAnswerPublishingIsRefused"
    ),
    "PLUGIN_FAULT": ("BrokerTests/PartitionerPluginTests.swift", "withoutAnAnswerPublishingIsRefused"),
    "SWAP_IN_PROGRESS": (
      "BrokerTests/FenceTests.swift", "nothingOldIsTakenAndNothingNewBeforeAllOldIsDurable"
    ),
    "REORDER_NOT_ACCEPTED": ("BrokerTests/SwapTests.swift", "aSwapIsToldInOrderAndCanBeTakenBack"),
    "NO_EARLIER_GENERATION": ("BrokerTests/SwapTests.swift", "aSwapIsToldInOrderAndCanBeTakenBack"),
    "PLUGIN_NOT_FOUND": ("BrokerTests/SwapTests.swift", "badRequestsSayWhatIsWrong"),
    "PLUGIN_REFUSED": ("BrokerTests/PluginsServiceTests.swift", "whatFailsIsNotInstalled"),
    "PLUGIN_PROBE_FAILED": ("BrokerTests/PluginsServiceTests.swift", "whatFailsIsNotInstalled"),
    "PLUGIN_EXISTS": (
      "BrokerTests/PluginsServiceTests.swift", "anInstallOfMegabytesIsCheckedProbedAndListed"
    ),
    "PLUGIN_IN_USE": ("BrokerTests/PluginsServiceTests.swift", "whatIsBoundMustBeReadyAndFit"),
    "PLUGIN_WRONG_KIND": ("BrokerTests/PluginsServiceTests.swift", "whatIsBoundMustBeReadyAndFit"),
    "PLUGIN_CONFIG_INVALID": ("BrokerTests/PluginsServiceTests.swift", "whatIsBoundMustBeReadyAndFit"),
    "PLUGIN_DISABLED": ("BrokerTests/PluginsServiceTests.swift", "whatIsBoundMustBeReadyAndFit"),
    "PLUGIN_QUARANTINED": ("BrokerTests/PluginsServiceTests.swift", "whatIsBoundMustBeReadyAndFit"),
    "PLUGIN_LIMIT": ("PluginRegistryTests/PluginRegistryTests.swift", "moreKeysThanTheLimit"),
    "PLUGIN_KEY_NOT_FOUND": ("BrokerTests/PluginsServiceTests.swift", "grantsAndKeys"),
    "PARTITIONER_CHANGED": (
      "BrokerTests/AddPartitionsTests.swift", "oldGenerationsAreRefusedAfterTheDuplicateWindow"
    ),
    "ACKS_TOO_WEAK": ("BrokerTests/TopicUpdateTests.swift", "limitsBindOpenStreams"),
    "STREAM_NOT_OPEN": ("BrokerTests/StreamTests.swift", "aStreamMustBeOpenedOnce"),
    "OVERLOADED": ("CommitLogTests/LogAppendTests.swift", "theSubmitQueueIsBounded"),
    "DISK_FULL": ("CommitLogTests/LogRetentionTests.swift", "aFullDiskRefusesProduceAndRecoversByItself"),
    "LOG_OFFLINE": ("CommitLogTests/LogRetentionTests.swift", "anIOErrorTakesTheDirectoryOfflineForEver"),
    "DATA_CORRUPT": ("BrokerTests/ClusterTests.swift", "acceptedLossServesWhatIsIntact"),
    "PARTITION_ONLINE": ("BrokerTests/ClusterTests.swift", "acceptedLossServesWhatIsIntact"),
    "BATCH_UNDECODABLE": ("BrokerTests/ReasonTests.swift", "whatDoesNotInflateIsToldWithTheWayOn"),
    "DRAINING": ("BrokerTests/ClusterTests.swift", "aDrainIsOrderedOnceAndTold"),
    "NOT_READY": ("BrokerTests/ReasonTests.swift", "phasesHaveTheirRefusal"),
    "METADATA_UNAVAILABLE": (
      "MetadataStoreTests/MetadataErrorTests.swift", "faultsNeverClaimMoreThanIsKnown"
    ),
    "CONFLICT": ("BrokerTests/TopicUpdateTests.swift", "settingsAreSetResetAndCompared"),
    "CONNECTION_LOST": ("WireTests/FaultStatusTests.swift", "foreignStatusesFallBackToTheCode"),
    "UNREACHABLE": ("BrokerTests/ClientProduceTests.swift", "aStrangerIsRefusedAndNobodyIsUnreachable"),
    "INTERNAL": ("WireTests/FaultStatusTests.swift", "foreignStatusesFallBackToTheCode"),
    "GROUP_NOT_FOUND": ("GroupCoordinationTests/RefusalTests.swift", "whatIsNotThereIsNotFound"),
    "UNKNOWN_MEMBER": ("GroupCoordinationTests/RefusalTests.swift", "strangersAreUnknown"),
    "STALE_MEMBER_EPOCH": ("GroupCoordinationTests/RefusalTests.swift", "epochsOutsideTheMembershipAreStale"),
    "MEMBER_EXPIRED": ("GroupCoordinationTests/RefusalTests.swift", "removedMembersAreToldWhy"),
    "MEMBER_QUARANTINED": ("GroupCoordinationTests/RefusalTests.swift", "whoFailsAgainAndAgainStaysAway"),
    "UNRELEASED_INSTANCE_ID": ("GroupCoordinationTests/RefusalTests.swift", "aLiveInstanceIsNotReplaced"),
    "UNKNOWN_ASSIGNOR": ("GroupCoordinationTests/RefusalTests.swift", "unknownAssignorsNameTheNearest"),
    "GROUP_LIMIT": ("GroupCoordinationTests/RefusalTests.swift", "limitsHaveNames"),
    "GROUP_HAS_MEMBERS": (
      "GroupCoordinationTests/RefusalTests.swift", "administrationIsForGroupsWithoutMembers"
    ),
    "NOT_ASSIGNED": ("GroupCoordinationTests/RefusalTests.swift", "whatIsNotAssignedIsNotCommitted"),
    "COMMIT_BEHIND": ("GroupCoordinationTests/RefusalTests.swift", "commitsDoNotGoBack"),
    "NOT_COORDINATOR": (
      "GroupCoordinationTests/RefusalTests.swift", "afterAFailedAppendNobodyIsAnsweredButWithThat"
    ),
    "COORDINATOR_LOADING": (
      "GroupCoordinationTests/RefusalTests.swift", "beforeTheLogIsReadNobodyIsAnswered"
    ),
    "PATTERN_INVALID": ("BrokerTests/GroupsServiceTests.swift", "patternsAreCheckedAndTheirWorkIsBounded"),
    "NO_COMMITTED_OFFSET": ("BrokerTests/SubscribeFlowTests.swift", "withoutACommitSomebodyMaySayWhere"),
    "TOO_MANY_GAPS": ("BrokerTests/SubscribeAckTests.swift", "tooManyGapsAreTold"),
    "OFFSET_STORE_NOT_FOUND": ("BrokerTests/OffsetStoreTests.swift", "storesAreChosenForTenantsAndGroups"),
    "OFFSET_STORE_UNAVAILABLE": (
      "BrokerTests/OffsetStoreTests.swift", "whileAStoreIsDownCommitsAreToBeRepeated"
    ),
    "OFFSETS_MOVING": ("BrokerTests/OffsetStoreTests.swift", "aMoveWaitsForCommitsThatAreOnTheirWay"),
    "UNAUTHENTICATED": ("BrokerTests/TopicsTests.swift", "whoHasNoPrincipalIsRefused"),
    "PERMISSION_DENIED": ("GatewayTests/RoutingTests.swift", "refusals"),
  ]

  static func violations(
    names: [String], catalogue: String, sources: [String],
    evidence: [String: (file: String, test: String)], file: (String) -> String?
  ) -> [Violation] {
    var found: [Violation] = []
    func report(_ name: String, _ what: String) {
      found.append(Violation(place: "Reason+Catalogue.swift", message: "\(name) \(what)"))
    }
    let pairs = catalogue.matches(of: /static let (\w+) = Reason\(\s*"(\w+)"/).map {
      (String($0.output.2), String($0.output.1))
    }
    let swiftNames = Dictionary(pairs, uniquingKeysWith: { first, _ in first })
    for name in names {
      guard let swiftName = swiftNames[name] else {
        report(name, "is not declared in the usual form")
        continue
      }
      if !sources.contains(where: { mentions(swiftName, $0) }) {
        report(name, "is produced by nothing in Sources")
      }
      guard let (path, test) = evidence[name] else {
        report(name, "has no test in ReasonEvidence")
        continue
      }
      guard let text = file(path), let body = body(of: test, in: text) else {
        report(name, "names the test \(path) \(test), which does not exist")
        continue
      }
      if !mentions(swiftName, body), !body.contains(name) {
        report(name, "is not spoken of in its test \(path) \(test)")
      }
    }
    for name in evidence.keys.sorted() where !names.contains(name) {
      report(name, "has a test in ReasonEvidence but is not in the catalogue")
    }
    return found
  }

  /// `.name` as a whole word.
  private static func mentions(_ name: String, _ text: some StringProtocol) -> Bool {
    var rest = Substring(text)
    while let place = rest.firstRange(of: "." + name) {
      rest = rest[place.upperBound...]
      if rest.first.map({ !($0.isLetter || $0.isNumber || $0 == "_") }) ?? true { return true }
    }
    return false
  }

  /// From the test's name to the next test, in Swift or Python.
  private static func body(of test: String, in text: String) -> Substring? {
    let starts = ["func \(test)(", "def \(test)("].compactMap { text.firstRange(of: $0)?.upperBound }
    guard let start = starts.first else { return nil }
    let rest = text[start...]
    let ends = ["@Test", "\ndef test_"].compactMap { rest.firstRange(of: $0)?.lowerBound }
    return rest[..<(ends.min() ?? rest.endIndex)]
  }
}
