"""The HTTP interface: jobs, tasks, logs and live progress as JSON, read only."""
