-- What projects made at run time ask of PostgresLedger. Each block begins with its name and what it
-- does.

-- projects_version --
-- The number that every change of a project raises.
SELECT version FROM projects_version;

-- projects_version_alone --
-- The same, and nobody else changes it until the transaction ends.
SELECT version FROM projects_version FOR UPDATE;

-- managed_projects --
-- All of them, each with that number; one line of NULLs behind it when there are none. One
-- statement, so that number and projects are of the same moment.
SELECT
    version, project_id, name, description, trim_scale(daily_budget), budget_action, tags,
    voicegw_iso(created_at), voicegw_iso(updated_at), fallback, pricing, provider_options, providers
FROM projects_version LEFT JOIN managed_projects ON true
ORDER BY project_id;

-- put_project --
-- Makes a project, or changes all of it but the time at which it was made.
INSERT INTO managed_projects (
    project_id, name, description, daily_budget, budget_action, tags, created_at, updated_at,
    fallback, pricing, provider_options, providers
)
VALUES (
    :project_id, :name, :description, :daily_budget, :budget_action, :tags,
    voicegw_time(:created_at), voicegw_time(:updated_at), :fallback, :pricing, :provider_options,
    :providers
)
ON CONFLICT (project_id) DO UPDATE SET
    name = excluded.name,
    description = excluded.description,
    daily_budget = excluded.daily_budget,
    budget_action = excluded.budget_action,
    tags = excluded.tags,
    updated_at = excluded.updated_at,
    fallback = excluded.fallback,
    pricing = excluded.pricing,
    provider_options = excluded.provider_options,
    providers = excluded.providers;

-- delete_project --
-- Takes a project out. What it has used stays.
DELETE FROM managed_projects WHERE project_id = :project_id;

-- record_project_change --
-- Adds a line to the audit log.
INSERT INTO project_changes (at, front, who, action, project_id, fields, before, after)
VALUES (voicegw_time(:at), :front, :who, :action, :project_id, :fields, :before, :after);

-- project_changes --
-- The audit log, newest first.
SELECT voicegw_iso(at), front, who, action, project_id, fields, before, after, id
FROM project_changes
ORDER BY id DESC
LIMIT :limit;

-- changes_of_project --
-- The audit log of one project, newest first.
SELECT voicegw_iso(at), front, who, action, project_id, fields, before, after, id
FROM project_changes
WHERE project_id = :project
ORDER BY id DESC
LIMIT :limit;

-- open_requests --
-- How many requests of a project run now.
SELECT count(*) FROM usage WHERE status = 'open' AND status <> 'completed' AND project = :project;
