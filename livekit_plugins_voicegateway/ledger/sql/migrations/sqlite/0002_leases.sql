-- Leases: the slices of a day's budget that processes may spend.
-- additive: yes

-- Which process writes the row, and so whose lease its cost comes from; NULL: it holds none.
ALTER TABLE usage ADD COLUMN owner TEXT;

CREATE TABLE leases (
    project         TEXT NOT NULL,
    day             TEXT NOT NULL,               -- 2026-05-04, in the configured time zone
    owner           TEXT NOT NULL,               -- id of the process
    amount_nanos    INTEGER NOT NULL             -- leased and not spent yet
                    CHECK (amount_nanos >= 0),
    overspent_nanos INTEGER NOT NULL DEFAULT 0,  -- what it has spent beyond; the next grant pays it
    expires_at      REAL NOT NULL,               -- Unix seconds; after that it does not count
    PRIMARY KEY (project, day, owner)
) WITHOUT ROWID;


-- Money moves from leased to settled inside the statement that changes a row, so that nobody ever
-- sees it in both places or in none. Of amount_nanos and overspent_nanos one is always 0, and their
-- difference is what was granted less what was spent; so a cost that shrinks undoes what its
-- growing did, as long as the lease is there.
CREATE TRIGGER lease_spent AFTER INSERT ON usage
WHEN NEW.owner IS NOT NULL AND NEW.cost_nanos <> 0
BEGIN
    UPDATE leases SET
        amount_nanos = max(0, amount_nanos - overspent_nanos - NEW.cost_nanos),
        overspent_nanos = max(0, overspent_nanos - amount_nanos + NEW.cost_nanos)
    WHERE (project, day, owner) = (NEW.project, NEW.day, NEW.owner);
END;

CREATE TRIGGER lease_spent_more_or_less AFTER UPDATE OF cost_nanos ON usage
WHEN NEW.owner IS NOT NULL
    AND coalesce(OLD.cost_nanos, 0) <> coalesce(NEW.cost_nanos, 0)
    AND (OLD.day, OLD.project) = (NEW.day, NEW.project)
BEGIN
    UPDATE leases SET
        amount_nanos = max(
            0,
            amount_nanos - overspent_nanos
                - coalesce(NEW.cost_nanos, 0) + coalesce(OLD.cost_nanos, 0)
        ),
        overspent_nanos = max(
            0,
            overspent_nanos - amount_nanos
                + coalesce(NEW.cost_nanos, 0) - coalesce(OLD.cost_nanos, 0)
        )
    WHERE (project, day, owner) = (NEW.project, NEW.day, NEW.owner);
END;

CREATE TRIGGER lease_spent_elsewhere AFTER UPDATE OF day, project ON usage
WHEN (OLD.day, OLD.project) <> (NEW.day, NEW.project)
BEGIN
    UPDATE leases SET
        amount_nanos = max(0, amount_nanos - overspent_nanos + coalesce(OLD.cost_nanos, 0)),
        overspent_nanos = max(0, overspent_nanos - amount_nanos - coalesce(OLD.cost_nanos, 0))
    WHERE (project, day, owner) = (OLD.project, OLD.day, OLD.owner);

    UPDATE leases SET
        amount_nanos = max(0, amount_nanos - overspent_nanos - coalesce(NEW.cost_nanos, 0)),
        overspent_nanos = max(0, overspent_nanos - amount_nanos + coalesce(NEW.cost_nanos, 0))
    WHERE (project, day, owner) = (NEW.project, NEW.day, NEW.owner);
END;
