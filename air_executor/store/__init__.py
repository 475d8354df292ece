"""The directory format: everything that reads or writes files of the root. docs/file-format.md describes it for people."""
