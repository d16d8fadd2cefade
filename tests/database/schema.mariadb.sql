CREATE TABLE celeriac_attempt (
    task_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    number INTEGER NOT NULL,
    state VARCHAR(16) NOT NULL,
    worker VARCHAR(255) COLLATE utf8mb4_bin,
    started DOUBLE,
    finished DOUBLE,
    error_type VARCHAR(255),
    error_message VARCHAR(500),
    traceback LONGTEXT,
    PRIMARY KEY (task_id, number)
);
CREATE TABLE celeriac_audit (
    id BIGINT NOT NULL AUTO_INCREMENT,
    at DOUBLE NOT NULL,
    actor VARCHAR(255),
    verb VARCHAR(50) NOT NULL,
    target VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    details LONGTEXT,
    PRIMARY KEY (id)
);
CREATE INDEX ix_celeriac_audit_at ON celeriac_audit (at);
CREATE TABLE celeriac_chord (
    group_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    size INTEGER,
    added INTEGER NOT NULL,
    returned INTEGER NOT NULL,
    members LONGTEXT,
    body LONGTEXT,
    due DOUBLE,
    claimed_by VARCHAR(255) COLLATE utf8mb4_bin,
    claimed_until DOUBLE,
    claims INTEGER NOT NULL,
    sent DOUBLE,
    updated DOUBLE NOT NULL,
    PRIMARY KEY (group_id)
);
CREATE INDEX ix_celeriac_chord_due ON celeriac_chord (due);
CREATE INDEX ix_celeriac_chord_updated ON celeriac_chord (updated);
CREATE TABLE celeriac_chord_part (
    group_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    task_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    position INTEGER NOT NULL,
    state VARCHAR(50) NOT NULL,
    result LONGTEXT,
    PRIMARY KEY (group_id, task_id, position)
);
CREATE TABLE celeriac_dead_letter (
    task_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    reason VARCHAR(50) NOT NULL,
    content_type VARCHAR(255),
    content_encoding VARCHAR(50),
    headers LONGTEXT,
    body LONGTEXT,
    at DOUBLE NOT NULL,
    PRIMARY KEY (task_id)
);
CREATE INDEX ix_celeriac_dead_letter_at ON celeriac_dead_letter (at);
CREATE TABLE celeriac_group (
    group_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    result LONGTEXT NOT NULL,
    created DOUBLE NOT NULL,
    PRIMARY KEY (group_id)
);
CREATE INDEX ix_celeriac_group_created ON celeriac_group (created);
CREATE TABLE celeriac_idempotency (
    scope VARCHAR(191) NOT NULL,
    `key` VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    task_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    created DOUBLE NOT NULL,
    PRIMARY KEY (scope, `key`)
);
CREATE INDEX ix_celeriac_idempotency_created ON celeriac_idempotency (created);
CREATE TABLE celeriac_pause (
    queue VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    since DOUBLE NOT NULL,
    actor VARCHAR(255),
    PRIMARY KEY (queue)
);
CREATE TABLE celeriac_rate (
    `key` VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    next DOUBLE NOT NULL,
    PRIMARY KEY (`key`)
);
CREATE INDEX ix_celeriac_rate_next ON celeriac_rate (next);
CREATE TABLE celeriac_record (
    id BIGINT NOT NULL AUTO_INCREMENT,
    task_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    state VARCHAR(16) NOT NULL,
    status VARCHAR(50),
    name VARCHAR(255) COLLATE utf8mb4_bin,
    queue VARCHAR(255) COLLATE utf8mb4_bin,
    priority SMALLINT,
    attempts INTEGER NOT NULL DEFAULT '0',
    arguments LONGTEXT,
    result LONGTEXT,
    traceback LONGTEXT,
    children LONGTEXT,
    details LONGTEXT,
    error_type VARCHAR(255),
    error_message VARCHAR(500),
    error_fingerprint VARCHAR(16),
    created DOUBLE NOT NULL,
    eta DOUBLE,
    started DOUBLE,
    finished DOUBLE,
    updated DOUBLE NOT NULL,
    worker VARCHAR(255) COLLATE utf8mb4_bin,
    progress_current DOUBLE,
    progress_total DOUBLE,
    progress_message VARCHAR(255),
    root_id VARCHAR(255) COLLATE utf8mb4_bin,
    parent_id VARCHAR(255) COLLATE utf8mb4_bin,
    group_id VARCHAR(255) COLLATE utf8mb4_bin,
    chord_id VARCHAR(255) COLLATE utf8mb4_bin,
    retry_of VARCHAR(255) COLLATE utf8mb4_bin,
    schedule VARCHAR(255) COLLATE utf8mb4_bin,
    labels VARCHAR(500),
    request_id VARCHAR(255),
    trace_id VARCHAR(64),
    run VARCHAR(64),
    crashes INTEGER NOT NULL DEFAULT '0',
    PRIMARY KEY (id),
    UNIQUE (task_id)
);
CREATE INDEX celeriac_record_created ON celeriac_record (created);
CREATE INDEX celeriac_record_error ON celeriac_record (error_fingerprint, created);
CREATE INDEX celeriac_record_name ON celeriac_record (name, created);
CREATE INDEX celeriac_record_root ON celeriac_record (root_id, created);
CREATE INDEX celeriac_record_state ON celeriac_record (state, created);
CREATE TABLE celeriac_slot (
    `key` VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    number INTEGER NOT NULL,
    task_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    run VARCHAR(64) NOT NULL,
    since DOUBLE NOT NULL,
    PRIMARY KEY (`key`, number)
);
CREATE TABLE celeriac_unique (
    `key` VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    task_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    until DOUBLE NOT NULL,
    PRIMARY KEY (`key`)
);
CREATE INDEX ix_celeriac_unique_until ON celeriac_unique (until);
CREATE TABLE celeriac_outbox (
    id BIGINT NOT NULL AUTO_INCREMENT,
    task_id VARCHAR(255) COLLATE utf8mb4_bin,
    task VARCHAR(255) COLLATE utf8mb4_bin,
    queue VARCHAR(255) COLLATE utf8mb4_bin,
    message LONGTEXT NOT NULL,
    created DOUBLE NOT NULL,
    due DOUBLE,
    owner VARCHAR(64),
    attempts INTEGER NOT NULL DEFAULT '0',
    error VARCHAR(500),
    PRIMARY KEY (id)
);
CREATE INDEX ix_celeriac_outbox_due ON celeriac_outbox (due);
CREATE INDEX ix_celeriac_outbox_task_id ON celeriac_outbox (task_id);
