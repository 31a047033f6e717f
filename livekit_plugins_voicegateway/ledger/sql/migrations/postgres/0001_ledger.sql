-- The ledger: a row for each request, kept by month.
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
