"""The `lipsync` command: one module a subcommand, which parses, calls the library and prints."""
