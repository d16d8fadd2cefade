"""What Alembic runs before the scripts."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"], version_table="celeriac_alembic_version"
)
context.run_migrations()
