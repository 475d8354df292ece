"""What Alembic runs: the migrations, in the transaction that it is given."""

from __future__ import annotations

from alembic import context

from air_executor.history.schema import VERSION_TABLE
from air_executor.history.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # SQLite cannot change most of a table: it is copied.
    render_as_batch=True,
)
context.run_migrations()
