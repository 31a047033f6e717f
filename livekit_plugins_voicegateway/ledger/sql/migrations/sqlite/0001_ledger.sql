-- The ledger: one row per request, totals per day, projects made at run time.
-- additive: no

CREATE TABLE usage (
    id                  TEXT PRIMARY KEY NOT NULL,  -- UUIDv7 of this row
    request_id          TEXT NOT NULL,              -- same for all rows of one request
    started_at          TEXT NOT NULL,              -- 2026-05-04T09:30:00.250Z, always UTC
    ended_at            TEXT,
    day                 TEXT NOT NULL,              -- 2026-05-04, in the configured time zone
    project             TEXT NOT NULL,
    modality            TEXT NOT NULL,              -- stt, llm, tts
    provider            TEXT NOT NULL,
    model               TEXT NOT NULL,
    requested_model     TEXT NOT NULL,              -- the whole string the application asked for
    status              TEXT NOT NULL,              -- open, completed, cancelled, failed, rejected
    estimated           INTEGER NOT NULL DEFAULT 0,
    room                TEXT,
    job_id              TEXT,
    speech_id           TEXT,
    audio_seconds       REAL NOT NULL DEFAULT 0,    -- in whole milliseconds
    connection_seconds  REAL NOT NULL DEFAULT 0,
    input_tokens        INTEGER NOT NULL DEFAULT 0,
    cached_input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens       INTEGER NOT NULL DEFAULT 0,
    characters          INTEGER NOT NULL DEFAULT 0,
    cost_nanos          INTEGER,                    -- NULL: nobody knows the price
    price               TEXT,
    ttfb_ms             REAL,
    duration_ms         REAL,
    error               TEXT,
    updated_at          TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    stale               INTEGER NOT NULL DEFAULT 0  -- closed for its owner, who may still live
);

-- Newest first, of everything; also what retention walks.
CREATE INDEX usage_by_time ON usage (started_at);

-- Newest first, of one project, modality or model, or any combination: the few keys that match are
-- read from usage_daily, and for each the newest rows from here.
CREATE INDEX usage_by_key ON usage (project, modality, provider, model, started_at);

-- The rows of a call.
CREATE INDEX usage_by_room ON usage (room, started_at) WHERE room IS NOT NULL;

-- Newest first, of what did not go well; and the open rows, to find those that nobody will close.
CREATE INDEX usage_by_status ON usage (status, started_at) WHERE status <> 'completed';


-- Totals, equal to the sum of the rows: the three triggers below keep them inside the statement
-- that changes a row, whoever issues it. cost_nanos and estimated_cost_nanos leave out what has no
-- price; cost_nanos is NULL, as SUM would say, when no request of the line has one.
CREATE TABLE usage_daily (
    day                  TEXT NOT NULL,
    project              TEXT NOT NULL,
    modality             TEXT NOT NULL,
    provider             TEXT NOT NULL,
    model                TEXT NOT NULL,
    requests             INTEGER NOT NULL,
    unpriced_requests    INTEGER NOT NULL,
    audio_seconds        REAL NOT NULL,             -- in whole milliseconds, so that sums are exact
    input_tokens         INTEGER NOT NULL,
    cached_input_tokens  INTEGER NOT NULL,
    output_tokens        INTEGER NOT NULL,
    characters           INTEGER NOT NULL,
    cost_nanos           INTEGER,
    estimated_cost_nanos INTEGER NOT NULL,          -- the part whose rows are estimated
    PRIMARY KEY (day, project, modality, provider, model)
) WITHOUT ROWID;

CREATE TRIGGER usage_added AFTER INSERT ON usage
BEGIN
    INSERT INTO usage_daily (
        day, project, modality, provider, model, requests, unpriced_requests, audio_seconds,
        input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos,
        estimated_cost_nanos
    ) VALUES (
        NEW.day, NEW.project, NEW.modality, NEW.provider, NEW.model, 1, NEW.cost_nanos IS NULL,
        round(NEW.audio_seconds, 3), NEW.input_tokens, NEW.cached_input_tokens, NEW.output_tokens,
        NEW.characters, NEW.cost_nanos, NEW.estimated * coalesce(NEW.cost_nanos, 0)
    )
    ON CONFLICT (day, project, modality, provider, model) DO UPDATE SET
        requests = requests + 1,
        unpriced_requests = unpriced_requests + excluded.unpriced_requests,
        audio_seconds = round(audio_seconds + excluded.audio_seconds, 3),
        input_tokens = input_tokens + excluded.input_tokens,
        cached_input_tokens = cached_input_tokens + excluded.cached_input_tokens,
        output_tokens = output_tokens + excluded.output_tokens,
        characters = characters + excluded.characters,
        cost_nanos = coalesce(cost_nanos + excluded.cost_nanos, cost_nanos, excluded.cost_nanos),
        estimated_cost_nanos = estimated_cost_nanos + excluded.estimated_cost_nanos;
END;

CREATE TRIGGER usage_changed
AFTER UPDATE OF
    estimated, audio_seconds, input_tokens, cached_input_tokens, output_tokens, characters,
    cost_nanos
ON usage
WHEN (OLD.day, OLD.project, OLD.modality, OLD.provider, OLD.model)
   = (NEW.day, NEW.project, NEW.modality, NEW.provider, NEW.model)
BEGIN
    UPDATE usage_daily SET
        unpriced_requests
            = unpriced_requests + (NEW.cost_nanos IS NULL) - (OLD.cost_nanos IS NULL),
        audio_seconds = round(
            audio_seconds + round(NEW.audio_seconds, 3) - round(OLD.audio_seconds, 3), 3
        ),
        input_tokens = input_tokens + NEW.input_tokens - OLD.input_tokens,
        cached_input_tokens
            = cached_input_tokens + NEW.cached_input_tokens - OLD.cached_input_tokens,
        output_tokens = output_tokens + NEW.output_tokens - OLD.output_tokens,
        characters = characters + NEW.characters - OLD.characters,
        cost_nanos = CASE
            WHEN requests > unpriced_requests + (NEW.cost_nanos IS NULL) - (OLD.cost_nanos IS NULL)
            THEN coalesce(cost_nanos, 0) + coalesce(NEW.cost_nanos, 0) - coalesce(OLD.cost_nanos, 0)
        END,
        estimated_cost_nanos = estimated_cost_nanos
            + NEW.estimated * coalesce(NEW.cost_nanos, 0)
            - OLD.estimated * coalesce(OLD.cost_nanos, 0)
    WHERE (day, project, modality, provider, model)
        = (NEW.day, NEW.project, NEW.modality, NEW.provider, NEW.model);
END;

CREATE TRIGGER usage_moved
AFTER UPDATE OF day, project, modality, provider, model ON usage
WHEN (OLD.day, OLD.project, OLD.modality, OLD.provider, OLD.model)
  <> (NEW.day, NEW.project, NEW.modality, NEW.provider, NEW.model)
BEGIN
    UPDATE usage_daily SET
        requests = requests - 1,
        unpriced_requests = unpriced_requests - (OLD.cost_nanos IS NULL),
        audio_seconds = round(audio_seconds - round(OLD.audio_seconds, 3), 3),
        input_tokens = input_tokens - OLD.input_tokens,
        cached_input_tokens = cached_input_tokens - OLD.cached_input_tokens,
        output_tokens = output_tokens - OLD.output_tokens,
        characters = characters - OLD.characters,
        cost_nanos = CASE
            WHEN requests - 1 > unpriced_requests - (OLD.cost_nanos IS NULL)
            THEN cost_nanos - coalesce(OLD.cost_nanos, 0)
        END,
        estimated_cost_nanos
            = estimated_cost_nanos - OLD.estimated * coalesce(OLD.cost_nanos, 0)
    WHERE (day, project, modality, provider, model)
        = (OLD.day, OLD.project, OLD.modality, OLD.provider, OLD.model);

    DELETE FROM usage_daily
    WHERE (day, project, modality, provider, model)
        = (OLD.day, OLD.project, OLD.modality, OLD.provider, OLD.model)
        AND requests = 0;

    INSERT INTO usage_daily (
        day, project, modality, provider, model, requests, unpriced_requests, audio_seconds,
        input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos,
        estimated_cost_nanos
    ) VALUES (
        NEW.day, NEW.project, NEW.modality, NEW.provider, NEW.model, 1, NEW.cost_nanos IS NULL,
        round(NEW.audio_seconds, 3), NEW.input_tokens, NEW.cached_input_tokens, NEW.output_tokens,
        NEW.characters, NEW.cost_nanos, NEW.estimated * coalesce(NEW.cost_nanos, 0)
    )
    ON CONFLICT (day, project, modality, provider, model) DO UPDATE SET
        requests = requests + 1,
        unpriced_requests = unpriced_requests + excluded.unpriced_requests,
        audio_seconds = round(audio_seconds + excluded.audio_seconds, 3),
        input_tokens = input_tokens + excluded.input_tokens,
        cached_input_tokens = cached_input_tokens + excluded.cached_input_tokens,
        output_tokens = output_tokens + excluded.output_tokens,
        characters = characters + excluded.characters,
        cost_nanos = coalesce(cost_nanos + excluded.cost_nanos, cost_nanos, excluded.cost_nanos),
        estimated_cost_nanos = estimated_cost_nanos + excluded.estimated_cost_nanos;
END;

-- Which calls there were and when each began, per project that paid in it: the newest calls are
-- found here without reading their requests.
CREATE TABLE calls (
    room       TEXT NOT NULL,
    project    TEXT NOT NULL,
    started_at TEXT NOT NULL,
    PRIMARY KEY (room, project)
) WITHOUT ROWID;

CREATE INDEX calls_by_time ON calls (started_at);
CREATE INDEX calls_by_project ON calls (project, started_at);

CREATE TRIGGER call_began AFTER INSERT ON usage
WHEN NEW.room IS NOT NULL
BEGIN
    INSERT INTO calls (room, project, started_at) VALUES (NEW.room, NEW.project, NEW.started_at)
    ON CONFLICT (room, project) DO UPDATE SET started_at = excluded.started_at
    WHERE excluded.started_at < started_at;
END;

CREATE TRIGGER call_changed AFTER UPDATE OF room, project, started_at ON usage
WHEN NEW.room IS NOT NULL
    AND (OLD.room IS NOT NEW.room
         OR (OLD.project, OLD.started_at) <> (NEW.project, NEW.started_at))
BEGIN
    INSERT INTO calls (room, project, started_at) VALUES (NEW.room, NEW.project, NEW.started_at)
    ON CONFLICT (room, project) DO UPDATE SET started_at = excluded.started_at
    WHERE excluded.started_at < started_at;
END;


-- There is no trigger for deleted rows: retention takes single requests, and totals stay for ever.
-- Requests before this day may be gone; from it on the totals must equal the sum of the rows.
CREATE TABLE retention (
    only      INTEGER PRIMARY KEY CHECK (only = 1),
    kept_from TEXT NOT NULL
);


-- What people and other programs read: dollars per project, day and model.
CREATE VIEW project_daily_costs AS
SELECT
    project,
    day,
    modality,
    provider,
    model,
    requests,
    unpriced_requests,
    audio_seconds,
    input_tokens,
    cached_input_tokens,
    output_tokens,
    characters,
    cost_nanos / 1000000000.0 AS total_cost
FROM usage_daily;


-- Projects made at run time; those of voicegw.yaml are not here.
CREATE TABLE managed_projects (
    project_id    TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL,
    description   TEXT NOT NULL DEFAULT '',
    daily_budget  NUMERIC CHECK (daily_budget >= 0),  -- dollars; NULL for no limit
    budget_action TEXT NOT NULL DEFAULT 'warn'
                  CHECK (budget_action IN ('warn', 'throttle', 'block')),
    tags          TEXT NOT NULL DEFAULT '[]',         -- a JSON array of strings
    created_at    TEXT NOT NULL,
    updated_at    TEXT NOT NULL
);
