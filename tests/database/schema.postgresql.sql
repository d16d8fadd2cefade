CREATE TABLE celeriac_attempt (
    task_id VARCHAR(255) NOT NULL,
    number INTEGER NOT NULL,
    state VARCHAR(16) NOT NULL,
    worker VARCHAR(255),
    started FLOAT(53),
    finished FLOAT(53),
    error_type VARCHAR(255),
    error_message VARCHAR(500),
    traceback TEXT,
    PRIMARY KEY (task_id, number)
);
CREATE TABLE celeriac_audit (
    id BIGSERIAL NOT NULL,
    at FLOAT(53) NOT NULL,
    actor VARCHAR(255),
    verb VARCHAR(50) NOT NULL,
    target VARCHAR(255) NOT NULL,
    details TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX ix_celeriac_audit_at ON celeriac_audit (at);
CREATE TABLE celeriac_chord (
    group_id VARCHAR(255) NOT NULL,
    size INTEGER,
    added INTEGER NOT NULL,
    returned INTEGER NOT NULL,
    members TEXT,
    body TEXT,
    due FLOAT(53),
    claimed_by VARCHAR(255),
    claimed_until FLOAT(53),
    claims INTEGER NOT NULL,
    sent FLOAT(53),
    updated FLOAT(53) NOT NULL,
    PRIMARY KEY (group_id)
);
CREATE INDEX ix_celeriac_chord_due ON celeriac_chord (due);
CREATE INDEX ix_celeriac_chord_updated ON celeriac_chord (updated);
CREATE TABLE celeriac_chord_part (
    group_id VARCHAR(255) NOT NULL,
    task_id VARCHAR(255) NOT NULL,
    position INTEGER NOT NULL,
    state VARCHAR(50) NOT NULL,
    result TEXT,
    PRIMARY KEY (group_id, task_id, position)
);
CREATE TABLE celeriac_dead_letter (
    task_id VARCHAR(255) NOT NULL,
    reason VARCHAR(50) NOT NULL,
    content_type VARCHAR(255),
    content_encoding VARCHAR(50),
    headers TEXT,
    body TEXT,
    at FLOAT(53) NOT NULL,
    PRIMARY KEY (task_id)
);
CREATE INDEX ix_celeriac_dead_letter_at ON celeriac_dead_letter (at);
CREATE TABLE celeriac_group (
    group_id VARCHAR(255) NOT NULL,
    result TEXT NOT NULL,
    created FLOAT(53) NOT NULL,
    PRIMARY KEY (group_id)
);
CREATE INDEX ix_celeriac_group_created ON celeriac_group (created);
CREATE TABLE celeriac_idempotency (
    scope VARCHAR(191) NOT NULL,
    key VARCHAR(255) NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    task_id VARCHAR(255) NOT NULL,
    created FLOAT(53) NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX ix_celeriac_idempotency_created ON celeriac_idempotency (created);
CREATE TABLE celeriac_pause (
    queue VARCHAR(255) NOT NULL,
    since FLOAT(53) NOT NULL,
    actor VARCHAR(255),
    PRIMARY KEY (queue)
);
CREATE TABLE celeriac_rate (
    key VARCHAR(255) NOT NULL,
    next FLOAT(53) NOT NULL,
    PRIMARY KEY (key)
);
CREATE INDEX ix_celeriac_rate_next ON celeriac_rate (next);
CREATE TABLE celeriac_record (
    id BIGSERIAL NOT NULL,
    task_id VARCHAR(255) NOT NULL,
    state VARCHAR(16) NOT NULL,
    status VARCHAR(50),
    name VARCHAR(255),
    queue VARCHAR(255),
    priority SMALLINT,
    attempts INTEGER DEFAULT '0' NOT NULL,
    arguments TEXT,
    result TEXT,
    traceback TEXT,
    children TEXT,
    details TEXT,
    error_type VARCHAR(255),
    error_message VARCHAR(500),
    error_fingerprint VARCHAR(16),
    created FLOAT(53) NOT NULL,
    eta FLOAT(53),
    started FLOAT(53),
    finished FLOAT(53),
    updated FLOAT(53) NOT NULL,
    worker VARCHAR(255),
    progress_current FLOAT(53),
    progress_total FLOAT(53),
    progress_message VARCHAR(255),
    root_id VARCHAR(255),
    parent_id VARCHAR(255),
    group_id VARCHAR(255),
    chord_id VARCHAR(255),
    retry_of VARCHAR(255),
    schedule VARCHAR(255),
    labels VARCHAR(500),
    request_id VARCHAR(255),
    trace_id VARCHAR(64),
    run VARCHAR(64),
    crashes INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (task_id)
);
CREATE INDEX celeriac_record_created ON celeriac_record (created);
CREATE INDEX celeriac_record_error ON celeriac_record (error_fingerprint, created) WHERE error_fingerprint IS NOT NULL;
CREATE INDEX celeriac_record_name ON celeriac_record (name, created);
CREATE INDEX celeriac_record_root ON celeriac_record (root_id, created) WHERE root_id IS NOT NULL;
CREATE INDEX celeriac_record_state ON celeriac_record (state, created);
CREATE TABLE celeriac_slot (
    key VARCHAR(255) NOT NULL,
    number INTEGER NOT NULL,
    task_id VARCHAR(255) NOT NULL,
    run VARCHAR(64) NOT NULL,
    since FLOAT(53) NOT NULL,
    PRIMARY KEY (key, number)
);
CREATE TABLE celeriac_unique (
    key VARCHAR(255) NOT NULL,
    task_id VARCHAR(255) NOT NULL,
    until FLOAT(53) NOT NULL,
    PRIMARY KEY (key)
);
CREATE INDEX ix_celeriac_unique_until ON celeriac_unique (until);
CREATE TABLE celeriac_outbox (
    id BIGSERIAL NOT NULL,
    task_id VARCHAR(255),
    task VARCHAR(255),
    queue VARCHAR(255),
    message TEXT NOT NULL,
    created FLOAT(53) NOT NULL,
    due FLOAT(53),
    owner VARCHAR(64),
    attempts INTEGER DEFAULT '0' NOT NULL,
    error VARCHAR(500),
    PRIMARY KEY (id)
);
CREATE INDEX ix_celeriac_outbox_due ON celeriac_outbox (due);
CREATE INDEX ix_celeriac_outbox_task_id ON celeriac_outbox (task_id);
