"""The daemon: observes the store, plans with the core, applies through fork servers; adopts what an earlier one left."""
