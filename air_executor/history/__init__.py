"""The history of jobs, tasks, attempts and progress in a database, derived from the journals by a process of its own."""
