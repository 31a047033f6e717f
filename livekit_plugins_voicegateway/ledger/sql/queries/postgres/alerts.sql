-- Alerts of PostgresLedger: noted once, claimed by one, tried until they are over. Each block begins
-- with its name and what it does.

-- add_alert --
-- Notes an alert, to be sent now. Changes no row when there is one about the same.
INSERT INTO alerts (id, about, event, project, day, body, created_at, due_at)
VALUES (
    :id, :about, :event, :project, voicegw_day(:day), :body, :created_at::double precision,
    :created_at::double precision
)
ON CONFLICT DO NOTHING;

-- next_alert --
-- When the first of the alerts that are not over is due; NULL when there is none.
SELECT min(due_at) FROM alerts WHERE due_at IS NOT NULL;

-- claim_alert --
-- Gives the alert that is due for longest to :owner, until :until; no row when none is due. One that
-- somebody is taking just now is left to them, so nobody else gets the same one.
UPDATE alerts SET owner = :owner, tries = tries + 1, due_at = :until
WHERE id = (
    SELECT id FROM alerts WHERE due_at <= :now ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id, about, event, project, voicegw_iso(day), body, created_at, tries;

-- settle_alert --
-- Notes what became of a try. :due_at NULL: it is over. Changes nothing when the one who tried was
-- taken for dead, and somebody else has the alert.
UPDATE alerts SET owner = NULL, due_at = :due_at, delivered_at = :delivered_at, error = :error
WHERE id = :id AND owner = :owner;

-- waiting_alerts --
-- How many alerts are not over.
SELECT count(*) FROM alerts WHERE due_at IS NOT NULL;

-- any_old_alert --
-- One row when there is an alert of a day before :day that is over.
SELECT 1 FROM alerts WHERE day < voicegw_day(:day) AND due_at IS NULL LIMIT 1;

-- delete_alerts --
-- Deletes alerts of days before :day that are over.
DELETE FROM alerts WHERE day < voicegw_day(:day) AND due_at IS NULL;
