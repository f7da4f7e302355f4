"""The numbered migrations of the records database; a released one is never edited, only followed by another."""

MIGRATIONS = (
    """
    CREATE TABLE card (
        did TEXT PRIMARY KEY,
        envelope BLOB NOT NULL,
        added INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE head (
        origin TEXT PRIMARY KEY,
        checkpoint BLOB NOT NULL
    ) STRICT;
    CREATE TABLE package (
        package_id BLOB PRIMARY KEY,
        path TEXT NOT NULL,
        manifest BLOB NOT NULL,
        added INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE transfer (
        transfer_id BLOB PRIMARY KEY,
        direction TEXT NOT NULL CHECK (direction IN ('in', 'out')),
        state TEXT NOT NULL,
        peer TEXT NOT NULL,
        peer_name TEXT NOT NULL,
        package_id BLOB NOT NULL,
        schema TEXT NOT NULL,
        offer BLOB NOT NULL,
        secret BLOB,
        failed_step INTEGER,
        reason TEXT,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX transfer_by_time ON transfer (created);
    CREATE TABLE receipt (
        transfer_id BLOB NOT NULL REFERENCES transfer (transfer_id),
        stage TEXT NOT NULL,
        envelope BLOB NOT NULL,
        anchor BLOB,
        PRIMARY KEY (transfer_id, stage)
    ) STRICT;
    CREATE TABLE consumed_grant (
        grant_digest BLOB PRIMARY KEY,
        transfer_id BLOB NOT NULL
    ) STRICT;
    """,
    """
    ALTER TABLE transfer ADD COLUMN done_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE transfer ADD COLUMN paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
    """,
)
