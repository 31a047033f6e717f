-- Alerts: what somebody is to be told through the webhook, and whether that has been done.
-- additive: yes

CREATE TABLE alerts (
    id           TEXT PRIMARY KEY NOT NULL,   -- the webhook-id of every try
    about        TEXT NOT NULL UNIQUE,        -- what it is about: there is one alert for each
    event        TEXT NOT NULL,               -- budget.near, budget.exceeded, price.unknown
    project      TEXT,
    day          TEXT NOT NULL,               -- 2026-05-04, in the configured time zone
    body         TEXT NOT NULL,               -- JSON, sent as it stands
    created_at   REAL NOT NULL,               -- Unix seconds, as the times below
    due_at       REAL,                        -- when it is tried next; while somebody tries: when
                                              -- that one is taken for dead; NULL: it is over
    owner        TEXT,                        -- who tries now
    tries        INTEGER NOT NULL DEFAULT 0,
    delivered_at REAL,                        -- NULL although it is over: nobody took it
    error        TEXT                         -- what the last try met
);

CREATE INDEX alerts_by_due ON alerts (due_at) WHERE due_at IS NOT NULL;
