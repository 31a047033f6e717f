-- What budgets ask of PostgresLedger. Each block begins with its name and what it does. :now is the
-- time where it is given; where it is NULL it is the server's, which is the same for all hosts.

-- budget_status --
-- What is settled and what is leased of a project's day. One statement, so that both are of the
-- same moment.
SELECT
    (
        SELECT coalesce(sum(cost_nanos), 0)::bigint FROM usage_daily_slots
        WHERE day = voicegw_day(:day) AND project = :project
    ),
    coalesce(sum(amount_nanos), 0)::bigint
FROM leases
WHERE project = :project AND day = voicegw_day(:day)
    AND expires_at > voicegw_now(:now::double precision);

-- acquire_lease --
-- Leases a part of what is left to :owner, for :life seconds: what is granted, what is settled, and
-- what is leased then.
SELECT granted, settled, leased
FROM voicegw_acquire_lease(
    :project, voicegw_day(:day), :owner, :budget, :need, :want, :share,
    :now::double precision, :life
);

-- return_whole_lease --
-- Takes out the lease of an owner that gives back all that is left of it, or more.
DELETE FROM leases
WHERE project = :project AND day = voicegw_day(:day) AND owner = :owner AND amount_nanos <= :nanos;

-- return_lease --
-- Takes :nanos from an owner's lease.
UPDATE leases SET amount_nanos = greatest(0, amount_nanos - :nanos)
WHERE project = :project AND day = voicegw_day(:day) AND owner = :owner;

-- renew_leases --
-- Lets the live leases of an owner live on for :life seconds, and says which those are. An expired
-- one is gone for good: what it held may be in somebody else's hands.
WITH mine AS (
    SELECT project, day FROM leases
    WHERE owner = :owner AND expires_at > voicegw_now(:now::double precision)
    ORDER BY project, day
    FOR UPDATE
)
UPDATE leases SET expires_at = voicegw_now(:now::double precision) + :life
FROM mine
WHERE leases.project = mine.project AND leases.day = mine.day AND leases.owner = :owner
RETURNING leases.project, voicegw_iso(leases.day);

-- any_dead_lease --
-- One row when there is a lease that nobody renews, or one of a day before :day.
SELECT 1 FROM leases
WHERE expires_at <= voicegw_now(:now::double precision) OR day < voicegw_day(:day)
LIMIT 1;

-- delete_dead_leases --
-- Takes out the leases that nobody renews, and those of days before :day, but for those that
-- somebody changes just now.
DELETE FROM leases WHERE (project, day, owner) IN (
    SELECT project, day, owner FROM leases
    WHERE expires_at <= voicegw_now(:now::double precision) OR day < voicegw_day(:day)
    FOR UPDATE SKIP LOCKED
);
