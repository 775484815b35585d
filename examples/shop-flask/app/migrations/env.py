"""Alembic: the application's own tables and connection."""

from alembic import context

from app.database import Base, Session

with Session.kw["bind"].connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
