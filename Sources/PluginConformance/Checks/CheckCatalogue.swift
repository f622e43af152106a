/// All checks, in the order in which they run: those before that others need.
package enum CheckCatalogue {
  package static let all: [Check] =
    BinaryChecks.all + LoadChecks.all + [Exercise.check] + ProcessChecks.all + PartitionerChecks.all
    + AsyncChecks.all + OffsetStoreChecks.all + AuthenticatorChecks.all + FuzzChecks.all
}
