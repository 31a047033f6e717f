-- Who listens is told of a change of a project when it is committed, and need not look for it.
-- additive: yes

-- Raises the number that workers watch, and says so to those who listen. Several changes of one
-- transaction are said once.
CREATE OR REPLACE FUNCTION voicegw_project_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE projects_version SET version = version + 1;
    PERFORM pg_notify('voicegw_projects', '');
    RETURN NULL;
END $$;
