-- The ledger: requests by month, totals per day in slots, leases, projects made at run time, alerts.
-- additive: no

-- Moments and days as the gateway writes them. '' is before all of them, and '~' behind.
CREATE FUNCTION voicegw_time(written text) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE written WHEN '' THEN '-infinity' WHEN '~' THEN 'infinity' ELSE written END::timestamptz;

CREATE FUNCTION voicegw_day(written text) RETURNS date LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE written WHEN '' THEN '-infinity' WHEN '~' THEN 'infinity' ELSE written END::date;

CREATE FUNCTION voicegw_iso(moment timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

CREATE FUNCTION voicegw_iso(day date) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(day, 'YYYY-MM-DD');

-- A project and a model as one value: an index of it is small, and what is to be found in it is
-- guessed better than from four columns that depend on each other.
CREATE FUNCTION voicegw_key(project text, modality text, provider text, model text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN md5(project || E'\n' || modality || E'\n' || provider || E'\n' || model)::uuid;

-- The time in Unix seconds that decides between hosts: this server's, unless one is given.
CREATE FUNCTION voicegw_now(given double precision) RETURNS double precision LANGUAGE sql
RETURN coalesce(given, extract(epoch FROM clock_timestamp()));


-- A mark says in which order rows were first written. It begins with the number of the transaction,
-- so that what is behind the oldest transaction that still runs can be told from what may yet come
-- in front of it; the rest tells the rows of one transaction apart.
CREATE SEQUENCE usage_marks CACHE 1000;

-- One row per request. The month that a row is kept in is the one in which its id was made: so an
-- id is there once, wherever the row's day goes. ids sort by the time they were made (UUIDv7).
CREATE TABLE usage (
    id                  text COLLATE "C" NOT NULL,
    request_id          text NOT NULL,              -- same for all rows of one request
    started_at          timestamptz NOT NULL,
    ended_at            timestamptz,
    day                 date NOT NULL,              -- in the configured time zone
    project             text COLLATE "C" NOT NULL,
    modality            text COLLATE "C" NOT NULL,  -- stt, llm, tts
    provider            text COLLATE "C" NOT NULL,
    model               text COLLATE "C" NOT NULL,
    requested_model     text NOT NULL,              -- the whole string the application asked for
    status              text COLLATE "C" NOT NULL,  -- open, completed, cancelled, failed, rejected
    estimated           boolean NOT NULL DEFAULT false,
    room                text COLLATE "C",
    job_id              text,
    speech_id           text COLLATE "C",
    audio_seconds       double precision NOT NULL DEFAULT 0,  -- in whole milliseconds
    connection_seconds  double precision NOT NULL DEFAULT 0,
    input_tokens        bigint NOT NULL DEFAULT 0,
    cached_input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens       bigint NOT NULL DEFAULT 0,
    characters          bigint NOT NULL DEFAULT 0,
    cost_nanos          bigint,                     -- NULL: nobody knows the price
    price               text,
    ttfb_ms             double precision,
    duration_ms         double precision,
    error               text,
    updated_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    stale               boolean NOT NULL DEFAULT false,  -- closed for its owner, who may still live
    owner               text COLLATE "C",           -- whose lease its cost comes from; NULL: nobody's
    mark                bigint NOT NULL DEFAULT
        (pg_current_xact_id()::text::bigint << 20) | (nextval('usage_marks') & 1048575),
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- Newest first, of everything; also what retention walks.
CREATE INDEX usage_by_time ON usage (started_at, id);

-- Newest first, of one project, modality or model, or any combination: the few keys that match are
-- read from usage_keys, and for each the newest rows from here. Where rows shall come in the order
-- of this index or the one of status, and from no other, they are asked for in that of UTC.
CREATE INDEX usage_by_key ON usage (
    voicegw_key(project, modality, provider, model), (started_at AT TIME ZONE 'UTC')
);

-- The rows of a call.
CREATE INDEX usage_by_room ON usage (room, started_at) WHERE room IS NOT NULL;

-- Newest first, of what did not go well; and the open rows, to find those that nobody will close.
CREATE INDEX usage_by_status ON usage (status, (started_at AT TIME ZONE 'UTC'))
WHERE status <> 'completed';

-- In the order in which they were first written.
CREATE INDEX usage_by_mark ON usage (mark);

-- What has no month: ids that are no UUIDv7, or of a time for which nobody has made one yet.
CREATE TABLE usage_other PARTITION OF usage DEFAULT WITH (fillfactor = 90);


-- The first UUIDv7 of a moment.
CREATE FUNCTION voicegw_first_id(moment timestamptz) RETURNS text LANGUAGE sql IMMUTABLE
RETURN regexp_replace(
    lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0'), '^(.{8})(.{4})$', '\1-\2-7'
);

-- Makes the place for rows whose ids are made in a month, unless it is there, and takes into it
-- those that came before it. Says whether it made one. Nobody waits longer for the lock than 2 s:
-- the rows have a place meanwhile, and somebody will try again.
CREATE FUNCTION voicegw_make_month(month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    place text := 'usage_' || to_char(month, 'YYYY_MM');
    first_id text := voicegw_first_id(month::timestamp AT TIME ZONE 'UTC');
    behind text := voicegw_first_id((month + interval '1 month') AT TIME ZONE 'UTC');
BEGIN
    IF to_regclass(place) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM set_config('lock_timeout', '2s', true);
    PERFORM pg_advisory_xact_lock(867140, 0);
    IF to_regclass(place) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE usage INCLUDING DEFAULTS) WITH (fillfactor = 90)', place);
    EXECUTE format(
        'WITH found AS (DELETE FROM usage_other WHERE id >= %L AND id < %L RETURNING *)'
        ' INSERT INTO %I SELECT * FROM found',
        first_id, behind, place
    );
    EXECUTE format(
        'ALTER TABLE usage ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', place, first_id, behind
    );
    RETURN true;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected THEN
        RETURN false;
END $$;

-- Makes the places for this month, the one before and the two that come.
CREATE FUNCTION voicegw_make_months(today date) RETURNS bigint LANGUAGE sql
RETURN (
    SELECT count(*) FILTER (WHERE voicegw_make_month(month::date))
    FROM generate_series(
        date_trunc('month', today::timestamp) - interval '1 month',
        date_trunc('month', today::timestamp) + interval '2 months',
        interval '1 month'
    ) AS month
);

-- Drops the place of a month unless a row in it is to be kept: of a day from first_kept on, or open.
-- Says how many rows went with it; NULL when it stays, also because others use it: somebody will try
-- again.
CREATE FUNCTION voicegw_drop_month(place text, first_kept date) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    kept boolean;
    gone bigint;
BEGIN
    PERFORM set_config('lock_timeout', '2s', true);
    -- nobody writes it any more; those who read all months do not wait while it is counted
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', place);
    EXECUTE format(
        'SELECT EXISTS (SELECT FROM %1$I WHERE started_at >= $1 - 1 AND day >= $1)'
        ' OR EXISTS (SELECT FROM %1$I WHERE status = ''open'' AND status <> ''completed'')',
        place
    ) INTO kept USING first_kept;
    IF kept THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT count(*) FROM %I', place) INTO gone;
    EXECUTE format('DROP TABLE %I', place);
    RETURN gone;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected THEN
        RETURN NULL;
END $$;


-- Totals, equal to the sum of the rows. A line is kept in slots, so that those who write the same
-- project at once do not wait for each other; each takes one that nobody has, as long as there is
-- one, and in the order in which they are numbered, so that there are not more than it takes.
CREATE TABLE usage_daily_slots (
    day                  date NOT NULL,
    project              text COLLATE "C" NOT NULL,
    modality             text COLLATE "C" NOT NULL,
    provider             text COLLATE "C" NOT NULL,
    model                text COLLATE "C" NOT NULL,
    slot                 smallint NOT NULL,
    requests             bigint NOT NULL,
    unpriced_requests    bigint NOT NULL,
    audio_ms             bigint NOT NULL,           -- milliseconds, so that sums are exact
    input_tokens         bigint NOT NULL,
    cached_input_tokens  bigint NOT NULL,
    output_tokens        bigint NOT NULL,
    characters           bigint NOT NULL,
    cost_nanos           bigint NOT NULL,           -- of the requests that have a price
    estimated_cost_nanos bigint NOT NULL,           -- the part whose rows are estimated
    PRIMARY KEY (day, project, modality, provider, model, slot)
) WITH (fillfactor = 50);

-- What is left to be folded into slot 0.
CREATE INDEX usage_daily_spread ON usage_daily_slots (day) WHERE slot > 0;

-- What there are totals of.
CREATE TABLE usage_keys (
    project  text COLLATE "C" NOT NULL,
    modality text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    model    text COLLATE "C" NOT NULL,
    PRIMARY KEY (project, modality, provider, model)
);

-- Which calls there were and when each began, per project that paid in it: the newest calls are
-- found here without reading their requests.
CREATE TABLE calls (
    room       text COLLATE "C" NOT NULL,
    project    text COLLATE "C" NOT NULL,
    started_at timestamptz NOT NULL,
    PRIMARY KEY (room, project)
);

CREATE INDEX calls_by_time ON calls (started_at, room);
CREATE INDEX calls_by_project ON calls (project, started_at, room);

-- Leases: the slices of a day's budget that processes may spend.
CREATE TABLE leases (
    project         text COLLATE "C" NOT NULL,
    day             date NOT NULL,
    owner           text COLLATE "C" NOT NULL,       -- id of the process
    amount_nanos    bigint NOT NULL                  -- leased and not spent yet
                    CHECK (amount_nanos >= 0),
    overspent_nanos bigint NOT NULL DEFAULT 0,       -- spent beyond; the next grant pays it
    expires_at      double precision NOT NULL,       -- Unix seconds; after that it does not count
    PRIMARY KEY (project, day, owner)
) WITH (fillfactor = 50);

CREATE INDEX leases_by_owner ON leases (owner);


-- The slot of totals that this transaction has for itself until it ends. With all of them taken it
-- waits for one; then it holds none, so nobody waits for it.
CREATE FUNCTION voicegw_slot() RETURNS smallint LANGUAGE plpgsql AS $$
BEGIN
    FOR slot IN 0..15 LOOP
        IF pg_try_advisory_xact_lock(867141, slot) THEN
            RETURN slot;
        END IF;
    END LOOP;
    PERFORM pg_advisory_xact_lock(867141, pg_backend_pid() % 16);
    RETURN pg_backend_pid() % 16;
END $$;

-- Takes what was spent out of a lease. Of amount_nanos and overspent_nanos one is always 0, and
-- their difference is what was granted less what was spent; so a cost that shrinks undoes what its
-- growing did, as long as the lease is there.
CREATE FUNCTION voicegw_spend(of_project text, of_day date, of_owner text, nanos bigint)
RETURNS void LANGUAGE sql
BEGIN ATOMIC
    UPDATE leases SET
        amount_nanos = greatest(0, amount_nanos - overspent_nanos - nanos),
        overspent_nanos = greatest(0, overspent_nanos - amount_nanos + nanos)
    WHERE project = of_project AND day = of_day AND owner = of_owner;
END;

-- The two triggers below keep totals, calls and leases inside the statement that changes rows,
-- whoever issues it, once for all its rows. Whatever several transactions may change is changed in
-- sorted order. Money moves from leased to settled in the same transaction, so that nobody ever
-- sees it in both places or in none.
CREATE FUNCTION voicegw_usage_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    my_slot smallint;
    spent record;
BEGIN
    IF NOT EXISTS (SELECT FROM added) THEN
        RETURN NULL;
    END IF;
    my_slot := voicegw_slot();

    INSERT INTO usage_daily_slots AS kept (
        day, project, modality, provider, model, slot, requests, unpriced_requests, audio_ms,
        input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos,
        estimated_cost_nanos
    )
    SELECT
        day, project, modality, provider, model, my_slot, count(*), count(*) - count(cost_nanos),
        sum(round(audio_seconds * 1000)::bigint), sum(input_tokens), sum(cached_input_tokens),
        sum(output_tokens), sum(characters), coalesce(sum(cost_nanos), 0),
        coalesce(sum(cost_nanos) FILTER (WHERE estimated), 0)
    FROM added
    GROUP BY day, project, modality, provider, model
    ORDER BY day, project, modality, provider, model
    ON CONFLICT (day, project, modality, provider, model, slot) DO UPDATE SET
        requests = kept.requests + excluded.requests,
        unpriced_requests = kept.unpriced_requests + excluded.unpriced_requests,
        audio_ms = kept.audio_ms + excluded.audio_ms,
        input_tokens = kept.input_tokens + excluded.input_tokens,
        cached_input_tokens = kept.cached_input_tokens + excluded.cached_input_tokens,
        output_tokens = kept.output_tokens + excluded.output_tokens,
        characters = kept.characters + excluded.characters,
        cost_nanos = kept.cost_nanos + excluded.cost_nanos,
        estimated_cost_nanos = kept.estimated_cost_nanos + excluded.estimated_cost_nanos;

    INSERT INTO usage_keys (project, modality, provider, model)
    SELECT DISTINCT project, modality, provider, model FROM added
    WHERE NOT EXISTS (
        SELECT FROM usage_keys AS known
        WHERE (known.project, known.modality, known.provider, known.model)
            = (added.project, added.modality, added.provider, added.model)
    )
    ORDER BY project, modality, provider, model
    ON CONFLICT DO NOTHING;

    INSERT INTO calls AS known (room, project, started_at)
    SELECT room, project, min(started_at) FROM added
    WHERE room IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM calls
            WHERE (calls.room, calls.project) = (added.room, added.project)
                AND calls.started_at <= added.started_at
        )
    GROUP BY room, project
    ORDER BY room, project
    ON CONFLICT (room, project) DO UPDATE SET started_at = excluded.started_at
    WHERE excluded.started_at < known.started_at;

    FOR spent IN
        SELECT project, day, owner, sum(cost_nanos)::bigint AS nanos FROM added
        WHERE owner IS NOT NULL AND cost_nanos <> 0
        GROUP BY project, day, owner
        ORDER BY project, day, owner
    LOOP
        PERFORM voicegw_spend(spent.project, spent.day, spent.owner, spent.nanos);
    END LOOP;
    RETURN NULL;
END $$;

CREATE TRIGGER usage_added AFTER INSERT ON usage
REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION voicegw_usage_added();

CREATE FUNCTION voicegw_usage_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    my_slot smallint;
    spent record;
BEGIN
    IF NOT EXISTS (SELECT FROM changed) THEN
        RETURN NULL;
    END IF;
    my_slot := voicegw_slot();

    INSERT INTO usage_daily_slots AS kept (
        day, project, modality, provider, model, slot, requests, unpriced_requests, audio_ms,
        input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos,
        estimated_cost_nanos
    )
    SELECT
        day, project, modality, provider, model, my_slot, sum(sign),
        sum(sign * (cost_nanos IS NULL)::integer), sum(sign * round(audio_seconds * 1000)::bigint),
        sum(sign * input_tokens), sum(sign * cached_input_tokens), sum(sign * output_tokens),
        sum(sign * characters), sum(sign * coalesce(cost_nanos, 0)),
        sum(sign * estimated::integer * coalesce(cost_nanos, 0))
    FROM (SELECT 1 AS sign, * FROM changed UNION ALL SELECT -1, * FROM before) AS both_of_them
    GROUP BY day, project, modality, provider, model
    HAVING (
        sum(sign), sum(sign * (cost_nanos IS NULL)::integer),
        sum(sign * round(audio_seconds * 1000)::bigint), sum(sign * input_tokens),
        sum(sign * cached_input_tokens), sum(sign * output_tokens), sum(sign * characters),
        sum(sign * coalesce(cost_nanos, 0)), sum(sign * estimated::integer * coalesce(cost_nanos, 0))
    ) <> (0, 0, 0, 0, 0, 0, 0, 0, 0)
    ORDER BY day, project, modality, provider, model
    ON CONFLICT (day, project, modality, provider, model, slot) DO UPDATE SET
        requests = kept.requests + excluded.requests,
        unpriced_requests = kept.unpriced_requests + excluded.unpriced_requests,
        audio_ms = kept.audio_ms + excluded.audio_ms,
        input_tokens = kept.input_tokens + excluded.input_tokens,
        cached_input_tokens = kept.cached_input_tokens + excluded.cached_input_tokens,
        output_tokens = kept.output_tokens + excluded.output_tokens,
        characters = kept.characters + excluded.characters,
        cost_nanos = kept.cost_nanos + excluded.cost_nanos,
        estimated_cost_nanos = kept.estimated_cost_nanos + excluded.estimated_cost_nanos;

    INSERT INTO usage_keys (project, modality, provider, model)
    SELECT DISTINCT project, modality, provider, model FROM changed
    WHERE NOT EXISTS (
        SELECT FROM usage_keys AS known
        WHERE (known.project, known.modality, known.provider, known.model)
            = (changed.project, changed.modality, changed.provider, changed.model)
    )
    ORDER BY project, modality, provider, model
    ON CONFLICT DO NOTHING;

    INSERT INTO calls AS known (room, project, started_at)
    SELECT room, project, min(started_at) FROM changed
    WHERE room IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM calls
            WHERE (calls.room, calls.project) = (changed.room, changed.project)
                AND calls.started_at <= changed.started_at
        )
    GROUP BY room, project
    ORDER BY room, project
    ON CONFLICT (room, project) DO UPDATE SET started_at = excluded.started_at
    WHERE excluded.started_at < known.started_at;

    FOR spent IN
        SELECT project, day, owner, sum(nanos)::bigint AS nanos
        FROM (
            SELECT
                now.project, now.day, now.owner,
                coalesce(now.cost_nanos, 0) - coalesce(was.cost_nanos, 0) AS nanos
            FROM before AS was JOIN changed AS now USING (id)
            WHERE (was.project, was.day) = (now.project, now.day)
            UNION ALL
            SELECT was.project, was.day, was.owner, -coalesce(was.cost_nanos, 0)
            FROM before AS was JOIN changed AS now USING (id)
            WHERE (was.project, was.day) <> (now.project, now.day)
            UNION ALL
            SELECT now.project, now.day, now.owner, coalesce(now.cost_nanos, 0)
            FROM before AS was JOIN changed AS now USING (id)
            WHERE (was.project, was.day) <> (now.project, now.day)
        ) AS of_rows
        WHERE owner IS NOT NULL
        GROUP BY project, day, owner
        HAVING sum(nanos) <> 0
        ORDER BY project, day, owner
    LOOP
        PERFORM voicegw_spend(spent.project, spent.day, spent.owner, spent.nanos);
    END LOOP;
    RETURN NULL;
END $$;

CREATE TRIGGER usage_changed AFTER UPDATE ON usage
REFERENCING OLD TABLE AS before NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION voicegw_usage_changed();

-- There is no trigger for deleted rows: retention takes single requests, and totals stay for ever.
-- Requests before this day may be gone; from it on the totals must equal the sum of the rows.
CREATE TABLE retention (
    id        integer PRIMARY KEY CHECK (id = 1),
    kept_from date NOT NULL
);

-- Puts the totals of the days before one into one slot each: they hardly change any more, and are
-- read often. Does nothing when others write just then.
CREATE FUNCTION voicegw_fold_slots(before date) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    folded bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM usage_daily_slots WHERE day < before AND slot > 0) THEN
        RETURN 0;
    END IF;
    FOR slot IN 0..15 LOOP
        IF NOT pg_try_advisory_xact_lock(867141, slot) THEN
            RETURN 0;
        END IF;
    END LOOP;
    WITH gone AS (
        DELETE FROM usage_daily_slots WHERE day < before AND slot > 0 RETURNING *
    )
    INSERT INTO usage_daily_slots AS kept (
        day, project, modality, provider, model, slot, requests, unpriced_requests, audio_ms,
        input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos,
        estimated_cost_nanos
    )
    SELECT
        day, project, modality, provider, model, 0, sum(requests), sum(unpriced_requests),
        sum(audio_ms), sum(input_tokens), sum(cached_input_tokens), sum(output_tokens),
        sum(characters), sum(cost_nanos), sum(estimated_cost_nanos)
    FROM gone
    GROUP BY day, project, modality, provider, model
    ON CONFLICT (day, project, modality, provider, model, slot) DO UPDATE SET
        requests = kept.requests + excluded.requests,
        unpriced_requests = kept.unpriced_requests + excluded.unpriced_requests,
        audio_ms = kept.audio_ms + excluded.audio_ms,
        input_tokens = kept.input_tokens + excluded.input_tokens,
        cached_input_tokens = kept.cached_input_tokens + excluded.cached_input_tokens,
        output_tokens = kept.output_tokens + excluded.output_tokens,
        characters = kept.characters + excluded.characters,
        cost_nanos = kept.cost_nanos + excluded.cost_nanos,
        estimated_cost_nanos = kept.estimated_cost_nanos + excluded.estimated_cost_nanos;
    GET DIAGNOSTICS folded = ROW_COUNT;
    RETURN folded;
END $$;

-- The totals by day, project and model: the sum of the slots. cost_nanos leaves out what has no
-- price, and is NULL, as sum would say, when no request of the line has one.
CREATE VIEW usage_daily AS
SELECT
    day,
    project,
    modality,
    provider,
    model,
    sum(requests)::bigint AS requests,
    sum(unpriced_requests)::bigint AS unpriced_requests,
    (sum(audio_ms) / 1000)::double precision AS audio_seconds,
    sum(input_tokens)::bigint AS input_tokens,
    sum(cached_input_tokens)::bigint AS cached_input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(characters)::bigint AS characters,
    CASE
        WHEN sum(requests) > sum(unpriced_requests) OR sum(cost_nanos) <> 0
        THEN sum(cost_nanos)::bigint
    END AS cost_nanos,
    sum(estimated_cost_nanos)::bigint AS estimated_cost_nanos
FROM usage_daily_slots
GROUP BY day, project, modality, provider, model
HAVING sum(requests) <> 0;

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
    round(cost_nanos / 1000000000.0, 9) AS total_cost
FROM usage_daily;


-- Leases to an owner what it asks for of a day's budget, so that settled + leased <= budget. Who
-- gets nothing, or only asks, is answered without a lock. Otherwise one after the other decides for
-- a project and day, from what is committed when it is its turn; those who write rows meanwhile
-- only move money from leased to settled. An expired lease is taken out first: so it cannot come
-- back to life after it was not counted.
CREATE FUNCTION voicegw_acquire_lease(
    of_project text, of_day date, of_owner text, budget bigint, need bigint, want bigint,
    share bigint, given_time double precision, life double precision,
    OUT granted bigint, OUT settled bigint, OUT leased bigint
) LANGUAGE plpgsql AS $$
DECLARE
    right_now double precision := voicegw_now(given_time);
    was bigint;
BEGIN
    FOR is_my_turn IN 0..1 LOOP
        IF is_my_turn = 1 THEN
            PERFORM pg_advisory_xact_lock(hashtextextended(of_project || ' ' || of_day, 867142));
            right_now := voicegw_now(given_time);
            PERFORM FROM leases
            WHERE project = of_project AND day = of_day
                AND (owner = of_owner OR expires_at <= right_now)
            ORDER BY owner
            FOR UPDATE;
            DELETE FROM leases
            WHERE project = of_project AND day = of_day AND expires_at <= right_now;
        END IF;
        SELECT
            (
                SELECT coalesce(sum(cost_nanos), 0) FROM usage_daily_slots
                WHERE day = of_day AND project = of_project
            ),
            coalesce(sum(amount_nanos), 0)
        INTO settled, leased
        FROM leases
        WHERE project = of_project AND day = of_day AND expires_at > right_now;
        granted := greatest(need, least(want, (budget - settled - leased) / share));
        IF budget - settled - leased < granted OR granted <= 0 THEN
            granted := 0;
            RETURN;
        END IF;
    END LOOP;

    SELECT amount_nanos INTO was FROM leases
    WHERE project = of_project AND day = of_day AND owner = of_owner;
    INSERT INTO leases AS mine (project, day, owner, amount_nanos, expires_at)
    VALUES (of_project, of_day, of_owner, granted, right_now + life)
    ON CONFLICT (project, day, owner) DO UPDATE SET
        amount_nanos = greatest(0, mine.amount_nanos - mine.overspent_nanos + granted),
        overspent_nanos = greatest(0, mine.overspent_nanos - mine.amount_nanos - granted),
        expires_at = excluded.expires_at
    RETURNING leased + amount_nanos - coalesce(was, 0) INTO leased;
END $$;


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
