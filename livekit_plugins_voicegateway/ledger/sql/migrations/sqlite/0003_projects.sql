-- Projects at run time: the rest of what one may be told, who changed what, and a number to watch.
-- additive: yes

ALTER TABLE managed_projects ADD COLUMN fallback TEXT;          -- JSON; NULL: the configuration's
ALTER TABLE managed_projects ADD COLUMN pricing TEXT;           -- JSON; NULL: none of its own
ALTER TABLE managed_projects ADD COLUMN provider_options TEXT;  -- JSON, names only: {"openai": ["api_key"]}
ALTER TABLE managed_projects ADD COLUMN providers TEXT;         -- the options, sealed with VOICEGW_SECRET_KEY

-- The audit log. It is only added to.
CREATE TABLE project_changes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         TEXT NOT NULL,               -- 2026-05-04T09:30:00.250Z
    front      TEXT NOT NULL,               -- http, dashboard, mcp, cli
    who        TEXT,                        -- as far as that front knows
    action     TEXT NOT NULL,               -- created, changed, deleted
    project_id TEXT NOT NULL,
    fields     TEXT NOT NULL,               -- a JSON array: what was changed
    before     TEXT,                        -- JSON without any key; NULL when it was created
    after      TEXT                         -- JSON without any key; NULL when it was deleted
);

CREATE INDEX project_changes_by_project ON project_changes (project_id, id);

-- One row, whose number any change of a project raises, even one made in the sqlite3 shell. Workers
-- watch it.
CREATE TABLE projects_version (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL
);

INSERT INTO projects_version (id, version) VALUES (1, 1);

CREATE TRIGGER project_inserted AFTER INSERT ON managed_projects
BEGIN
    UPDATE projects_version SET version = version + 1;
END;

CREATE TRIGGER project_updated AFTER UPDATE ON managed_projects
BEGIN
    UPDATE projects_version SET version = version + 1;
END;

CREATE TRIGGER project_deleted AFTER DELETE ON managed_projects
BEGIN
    UPDATE projects_version SET version = version + 1;
END;
