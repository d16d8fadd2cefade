CREATE TABLE celeriac_chord (
    group_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    size INTEGER,
    added INTEGER NOT NULL,
    returned INTEGER NOT NULL,
    members LONGTEXT,
    body LONGTEXT,
    due FLOAT(53),
    claimed_by VARCHAR(255) COLLATE utf8mb4_bin,
    claimed_until FLOAT(53),
    claims INTEGER NOT NULL,
    sent FLOAT(53),
    updated FLOAT(53) NOT NULL,
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
CREATE TABLE celeriac_group (
    group_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    result LONGTEXT NOT NULL,
    created FLOAT(53) NOT NULL,
    PRIMARY KEY (group_id)
);
CREATE INDEX ix_celeriac_group_created ON celeriac_group (created);
CREATE TABLE celeriac_record (
    task_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    state VARCHAR(50) NOT NULL,
    result LONGTEXT,
    traceback LONGTEXT,
    children LONGTEXT,
    details LONGTEXT,
    finished FLOAT(53),
    updated FLOAT(53) NOT NULL,
    PRIMARY KEY (task_id)
);
CREATE INDEX celeriac_record_updated ON celeriac_record (updated);
CREATE TABLE celeriac_schema (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
