// The module's first file; see Docs/architecture.md.
