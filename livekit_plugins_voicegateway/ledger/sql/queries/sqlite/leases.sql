-- What budgets ask of SqliteLedger. Each block begins with its name and what it does. None of them
-- needs RETURNING, which the SQLite of some systems with Python 3.11 does not know (before 3.35).

-- budget_status --
-- What is settled and what is leased of a project's day, and :owner's latest grant, which is 0 when
-- it holds no lease. One statement, so that all three are of the same moment.
SELECT
    (
        SELECT coalesce(sum(cost_nanos), 0) FROM usage_daily
        WHERE day = :day AND project = :project
    ),
    coalesce(sum(amount_nanos), 0),
    coalesce(sum(granted_nanos) FILTER (WHERE owner = :owner), 0)
FROM leases
WHERE project = :project AND day = :day AND expires_at > :now;

-- acquire_lease --
-- Grants :owner what it may spend, under the file's write lock from the first read on:
-- settled + leased + granted <= :budget. A grant adds to a live lease, and takes the place of one
-- that has expired. No row is changed when nothing is granted.
WITH
    status AS (
        SELECT
            :budget - (
                SELECT coalesce(sum(cost_nanos), 0) FROM usage_daily
                WHERE day = :day AND project = :project
            ) - coalesce(sum(amount_nanos), 0) AS remaining,
            coalesce(
                sum(amount_nanos - overspent_nanos) FILTER (WHERE owner = :owner), 0
            ) AS held
        FROM leases
        WHERE project = :project AND day = :day AND expires_at > :now
    ),
    answer AS (
        SELECT
            held,
            CASE
                WHEN remaining >= :need THEN max(:need, min(:want, remaining / :share))
                ELSE 0
            END AS granted
        FROM status
    )
INSERT INTO leases (
    project, day, owner, amount_nanos, overspent_nanos, granted_nanos, expires_at
)
SELECT
    :project, :day, :owner, max(0, held + granted), max(0, -held - granted), granted, :expires_at
FROM answer
WHERE granted > 0
ON CONFLICT (project, day, owner) DO UPDATE SET
    amount_nanos = excluded.amount_nanos,
    overspent_nanos = excluded.overspent_nanos,
    granted_nanos = excluded.granted_nanos,
    expires_at = excluded.expires_at;

-- return_whole_lease --
-- Takes out the lease of an owner that gives back all that is left of it, or more.
DELETE FROM leases
WHERE project = :project AND day = :day AND owner = :owner AND amount_nanos <= :nanos;

-- return_lease --
-- Takes :nanos from an owner's lease.
UPDATE leases SET amount_nanos = max(0, amount_nanos - :nanos)
WHERE project = :project AND day = :day AND owner = :owner;

-- renew_leases --
-- Lets the live leases of an owner live on. An expired one is gone for good: what it held may be
-- in somebody else's hands.
UPDATE leases SET expires_at = :expires_at
WHERE owner = :owner AND expires_at > :now;

-- any_dead_lease --
-- One row when there is a lease that nobody renews, or one of a day before :day.
SELECT 1 FROM leases WHERE expires_at <= :now OR day < :day LIMIT 1;

-- delete_dead_leases --
-- Takes out the leases that nobody renews, and those of days before :day.
DELETE FROM leases WHERE expires_at <= :now OR day < :day;
