CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    task_id TEXT,
    task TEXT,
    due REAL,
    expires REAL,
    claim INTEGER,
    claims INTEGER NOT NULL DEFAULT 0,
    starts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    envelope TEXT NOT NULL,
    body BLOB
);
CREATE INDEX message_ready ON message (queue, priority DESC, id)
    WHERE claim IS NULL AND due IS NULL;
CREATE INDEX message_claimed ON message (claim) WHERE claim IS NOT NULL;
CREATE INDEX message_due ON message (due) WHERE due IS NOT NULL;
CREATE INDEX message_expires ON message (expires) WHERE expires IS NOT NULL;

CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    message_ttl REAL,
    expires_after REAL,
    auto_delete INTEGER NOT NULL DEFAULT 0,
    used REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE binding (
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    pattern TEXT NOT NULL,
    queue TEXT NOT NULL,
    PRIMARY KEY (exchange, queue, routing_key, pattern)
) WITHOUT ROWID;

CREATE TABLE process (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pid INTEGER NOT NULL,
    lock TEXT NOT NULL,
    lease REAL NOT NULL
);

CREATE TABLE consumer (
    process INTEGER NOT NULL,
    tag TEXT NOT NULL,
    queue TEXT NOT NULL,
    PRIMARY KEY (process, tag, queue)
) WITHOUT ROWID;
CREATE INDEX consumer_queue ON consumer (queue);
