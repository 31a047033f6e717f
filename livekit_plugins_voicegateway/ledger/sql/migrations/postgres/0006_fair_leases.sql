-- How a slice of a day's budget is given out when many hold one.
-- additive: yes

-- They are changed many times a second: room beside each row, so that its next version is found
-- where the last one was.
ALTER TABLE leases SET (fillfactor = 30);

-- Leases to an owner what it asks for of a day's budget, so that settled + leased <= budget: no more
-- than a share of what is left, and with what it holds no more than four such shares of what is not
-- spent, divided among those who hold some of it. So the first of many do not lease all there is.
-- Who gets nothing, or only asks, is answered without a lock. Otherwise one after the other decides
-- for a project and day, from what is committed when it is its turn; those who write rows meanwhile
-- only move money from leased to settled. Expired leases are taken out before it is decided: so none
-- can come back to life after it was not counted.
CREATE OR REPLACE FUNCTION voicegw_acquire_lease(
    of_project text, of_day date, of_owner text, budget bigint, need bigint, want bigint,
    share bigint, given_time double precision, life double precision,
    OUT granted bigint, OUT settled bigint, OUT leased bigint
) LANGUAGE plpgsql AS $$
DECLARE
    right_now double precision := voicegw_now(given_time);
    held bigint;
    holders bigint;
    expired bigint;
BEGIN
    FOR look IN 1..3 LOOP
        IF look = 2 THEN
            PERFORM pg_advisory_xact_lock(hashtextextended(of_project || ' ' || of_day, 867142));
            right_now := voicegw_now(given_time);
        ELSIF look = 3 THEN
            EXIT WHEN expired = 0;
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
            coalesce(sum(amount_nanos) FILTER (WHERE live), 0),
            coalesce(sum(amount_nanos) FILTER (WHERE live AND owner = of_owner), 0),
            count(*) FILTER (WHERE live AND owner <> of_owner AND amount_nanos > 0) + 1,
            count(*) FILTER (WHERE NOT live)
        INTO settled, leased, held, holders, expired
        FROM (
            SELECT owner, amount_nanos, expires_at > right_now AS live FROM leases
            WHERE project = of_project AND day = of_day
        ) AS of_this_day;
        granted := greatest(need, least(
            want,
            (budget - settled - leased) / share,
            (budget - settled) / greatest(1, share / 4) / holders - held
        ));
        IF budget - settled - leased < granted OR granted <= 0 THEN
            granted := 0;
            RETURN;
        END IF;
    END LOOP;

    INSERT INTO leases AS mine (project, day, owner, amount_nanos, expires_at)
    VALUES (of_project, of_day, of_owner, granted, right_now + life)
    ON CONFLICT (project, day, owner) DO UPDATE SET
        amount_nanos = greatest(0, mine.amount_nanos - mine.overspent_nanos + granted),
        overspent_nanos = greatest(0, mine.overspent_nanos - mine.amount_nanos - granted),
        expires_at = excluded.expires_at
    RETURNING leased + amount_nanos - held INTO leased;
END $$;
