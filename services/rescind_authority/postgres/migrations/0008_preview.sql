-- Before a command: how many tokens it would hit, and at which services they were seen.

ALTER TABLE tokens ADD COLUMN used_by text[] NOT NULL DEFAULT '{}';

-- EXPLAIN takes no parameters; this reads the planner's estimate, and no token.
CREATE FUNCTION estimate_tokens(wanted text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE format(
        'EXPLAIN (FORMAT JSON) SELECT FROM tokens WHERE handles @> %L::text[]', wanted
    ) INTO plan;
    RETURN (plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint;
END
$$;
