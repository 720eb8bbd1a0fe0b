"""Alembic's entry: runs the steps on the connection, and inside the transaction, that database.py hands over."""

from alembic import context

from defectflow.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
