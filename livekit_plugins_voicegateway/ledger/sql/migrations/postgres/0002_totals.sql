-- Totals per day in slots, calls, what is leased, and the triggers that keep all of it.
-- additive: no

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
