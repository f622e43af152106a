// What `import SkeinClient` shows of the modules below: status codes and errors' values of SkeinCore,
// `RecordView`, `RecordHeaders` and `Codec` of RecordFormat. A user needs no other import.
@_exported public import RecordFormat
@_exported public import SkeinCore
