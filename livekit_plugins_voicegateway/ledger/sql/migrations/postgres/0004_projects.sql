-- Projects at run time, who changed what, and a number to watch; alerts.
-- additive: no

-- Projects made at run time; those of voicegw.yaml are not here.
CREATE TABLE managed_projects (
    project_id       text COLLATE "C" PRIMARY KEY,
    name             text NOT NULL,
    description      text NOT NULL DEFAULT '',
    daily_budget     numeric CHECK (daily_budget >= 0 AND daily_budget < 'NaN'),  -- dollars; NULL: no limit
    budget_action    text NOT NULL DEFAULT 'warn'
                     CHECK (budget_action IN ('warn', 'throttle', 'block')),
    tags             text NOT NULL DEFAULT '[]',     -- a JSON array of texts
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    fallback         text,                           -- JSON; NULL: the configuration's
    pricing          text,                           -- JSON; NULL: none of its own
    provider_options text,                           -- JSON, names only: {"openai": ["api_key"]}
    providers        text                            -- the options, sealed with VOICEGW_SECRET_KEY
);

-- The audit log. It is only added to.
CREATE TABLE project_changes (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    front      text NOT NULL,                        -- http, dashboard, mcp, cli
    who        text,                                 -- as far as that front knows
    action     text NOT NULL,                        -- created, changed, deleted
    project_id text COLLATE "C" NOT NULL,
    fields     text NOT NULL,                        -- a JSON array: what was changed
    before     text,                                 -- JSON without any key; NULL when created
    after      text                                  -- JSON without any key; NULL when deleted
);

CREATE INDEX project_changes_by_project ON project_changes (project_id, id);

-- One row, whose number any change of a project raises, even one made in psql. Workers watch it.
CREATE TABLE projects_version (
    id      integer PRIMARY KEY CHECK (id = 1),
    version bigint NOT NULL
);

INSERT INTO projects_version (id, version) VALUES (1, 1);

CREATE FUNCTION voicegw_project_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE projects_version SET version = version + 1;
    RETURN NULL;
END $$;

CREATE TRIGGER project_changed AFTER INSERT OR UPDATE OR DELETE ON managed_projects
FOR EACH ROW EXECUTE FUNCTION voicegw_project_changed();


-- Alerts: what somebody is to be told through the webhook, and whether that has been done.
CREATE TABLE alerts (
    id           text COLLATE "C" PRIMARY KEY,       -- the webhook-id of every try
    about        text COLLATE "C" NOT NULL UNIQUE,   -- what it is about: there is one for each
    event        text NOT NULL,                      -- budget.near, budget.exceeded, price.unknown
    project      text,
    day          date NOT NULL,
    body         text NOT NULL,                      -- JSON, sent as it stands
    created_at   double precision NOT NULL,          -- Unix seconds, as the times below
    due_at       double precision,                   -- when it is tried next; while somebody tries:
                                                     -- when that one is taken for dead; NULL: over
    owner        text,                               -- who tries now
    tries        bigint NOT NULL DEFAULT 0,
    delivered_at double precision,                   -- NULL although it is over: nobody took it
    error        text                                -- what the last try met
);

CREATE INDEX alerts_by_due ON alerts (due_at) WHERE due_at IS NOT NULL;
