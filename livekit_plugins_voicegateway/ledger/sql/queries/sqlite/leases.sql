-- What budgets ask of SqliteLedger. Each block begins with its name and what it does.

-- budget_status --
-- What is settled and what is leased of a project's day, what :owner holds, below 0 when it has
-- spent more than it leased, and how many others hold something. One statement, so that all of it
-- is of the same moment.
SELECT
    (
        SELECT coalesce(sum(cost_nanos), 0) FROM usage_daily
        WHERE day = :day AND project = :project
    ),
    coalesce(sum(amount_nanos), 0),
    coalesce(sum(amount_nanos - overspent_nanos) FILTER (WHERE owner = :owner), 0),
    count(*) FILTER (WHERE owner <> :owner AND amount_nanos > 0)
FROM leases
WHERE project = :project AND day = :day AND expires_at > :now;

-- acquire_lease --
-- Leases :granted to :owner if settled + leased + :granted <= :budget; changes no row otherwise.
-- That is read and decided with the file's write lock in hand. The grant adds to a live lease, and
-- takes the place of one that has expired.
INSERT INTO leases (project, day, owner, amount_nanos, overspent_nanos, expires_at)
SELECT
    :project, :day, :owner, max(0, held + :granted), max(0, -held - :granted), :expires_at
FROM (
    SELECT
        coalesce(sum(amount_nanos), 0) AS leased,
        coalesce(sum(amount_nanos - overspent_nanos) FILTER (WHERE owner = :owner), 0) AS held
    FROM leases
    WHERE project = :project AND day = :day AND expires_at > :now
)
WHERE :granted <= :budget - leased - (
    SELECT coalesce(sum(cost_nanos), 0) FROM usage_daily
    WHERE day = :day AND project = :project
)
ON CONFLICT (project, day, owner) DO UPDATE SET
    amount_nanos = excluded.amount_nanos,
    overspent_nanos = excluded.overspent_nanos,
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
-- Lets the live leases of an owner live on, and says which those are. An expired one is gone for
-- good: what it held may be in somebody else's hands. A lease of somebody else that ends later than
-- any renewed now was made before the clock was set back: it lives as long as this one, unless its
-- owner renews it.
UPDATE leases SET expires_at = :expires_at
WHERE (owner = :owner AND expires_at > :now) OR expires_at > :expires_at + 5
RETURNING project, day, owner;

-- any_dead_lease --
-- One row when there is a lease that nobody renews, or one of a day before :day.
SELECT 1 FROM leases WHERE expires_at <= :now OR day < :day LIMIT 1;

-- delete_dead_leases --
-- Takes out the leases that nobody renews, and those of days before :day.
DELETE FROM leases WHERE expires_at <= :now OR day < :day;
