extension String {
  /// This text for logs, errors and tables: control characters escaped, at most 200 characters, so
  /// that what a client sent cannot forge lines or drive a terminal.
  public var displayable: String {
    var out = ""
    for (index, scalar) in unicodeScalars.enumerated() {
      if index == 200 { return out + "…" }
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate:
        out += "\\u{\(String(scalar.value, radix: 16))}"
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out
  }
}
