import PluginPackage
import SkeinCore
import Testing

@Suite struct ConfigSchemaTests {
  static let schema = """
    {"type": "object", "required": ["virtual_nodes"], "additionalProperties": false,
     "properties": {
       "virtual_nodes": {"type": "integer", "minimum": 1, "maximum": 10000, "description": "points a partition"},
       "hash": {"enum": ["fnv", "murmur"]}, "ratio": {"type": "number", "minimum": 0.5},
       "names": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 2},
       "secret": {"type": "string", "format": "secret"},
       "pool": {"type": "object", "properties": {"on": {"type": "boolean"}}}}}
    """

  @Test(arguments: [
    #"{"virtual_nodes": 1}"#, #"{"virtual_nodes": 10000, "hash": "fnv", "ratio": 0.5, "names": ["a"]}"#,
    #"{"virtual_nodes": 7, "ratio": 3, "pool": {"on": true}, "secret": "x"}"#,
    #"{"virtual_nodes": 7, "secret": {"secret_file": "/run/secret"}}"#,
  ]) func fits(config: String) throws {
    try ConfigSchema(parsing: Self.schema).check(Array(config.utf8))
  }

  @Test(arguments: [
    ("", "config.virtual_nodes"), (#"{"virtual_nodes": 0}"#, "config.virtual_nodes"),
    (#"{"virtual_nodes": 10001}"#, "config.virtual_nodes"),
    (#"{"virtual_nodes": 1.5}"#, "config.virtual_nodes"),
    (#"{"virtual_nodes": true}"#, "config.virtual_nodes"),
    (#"{"virtual_nodes": 1, "hsh": "fnv"}"#, "config.hsh"),
    (#"{"virtual_nodes": 1, "hash": "md5"}"#, "config.hash"),
    (#"{"virtual_nodes": 1, "ratio": 0.1}"#, "config.ratio"),
    (#"{"virtual_nodes": 1, "names": ["a", "b", "c"]}"#, "config.names"),
    (#"{"virtual_nodes": 1, "names": [""]}"#, "config.names[0]"),
    (#"{"virtual_nodes": 1, "pool": {"on": 1}}"#, "config.pool.on"),
    (#"{"virtual_nodes": 1, "secret": {"secret_file": "rel"}}"#, "config.secret"),
    (#"{"virtual_nodes": 1, "virtual_nodes": 2}"#, "config"), ("[1]", "config"),
  ]) func eachProblemNamesItsField(config: String, field: String) throws {
    let schema = try ConfigSchema(parsing: Self.schema)
    let fault = try #require(throws: Fault.self) { try schema.check(Array(config.utf8)) }
    #expect(fault.reason == .pluginConfigInvalid && fault.violations.map(\.field) == [field], "\(fault)")
  }

  @Test(arguments: [
    ("{}", "config_schema.type"), (#"{"type": "string"}"#, "config_schema.type"),
    (#"{"type": "object", "patternProperties": {}}"#, "config_schema.patternProperties"),
    (#"{"type": "object", "additionalProperties": true}"#, "config_schema.additionalProperties"),
    (#"{"type": "object", "required": ["a"]}"#, "config_schema.required"),
    (#"{"type": "object", "properties": {"a": {"type": "strin"}}}"#, "config_schema.properties.a.type"),
    (#"{"type": "object", "properties": {"a": {"type": "array"}}}"#, "config_schema.properties.a.items"),
    (
      #"{"type": "object", "properties": {"a": {"type": "integer", "minimum": 2, "maximum": 1}}}"#,
      "config_schema.properties.a.minimum"
    ),
  ]) func whatIsNotOfTheSubset(schema: String, field: String) throws {
    let fault = try #require(throws: Fault.self) { _ = try ConfigSchema(parsing: schema) }
    #expect(fault.violations.map(\.field) == [field], "\(fault)")
  }

  @Test func withoutASchemaOnlyNothingIsTaken() throws {
    try ConfigSchema.checkEmpty(Array("{}".utf8))
    try ConfigSchema.checkEmpty([])
    #expect(throws: Fault.self) { try ConfigSchema.checkEmpty(Array(#"{"a": 1}"#.utf8)) }
  }
}
