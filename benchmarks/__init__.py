"""Side-by-side measurements with other executors: `make bench`."""
