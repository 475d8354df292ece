"""The command line: thin, it calls the client."""
