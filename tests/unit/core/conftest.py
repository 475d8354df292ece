"""How the properties are searched: without a deadline, because machines that run tests are busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("engine", deadline=None, max_examples=200, print_blob=True)
settings.load_profile("engine")
