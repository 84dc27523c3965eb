-- Writes refused calls to the audit.
-- $1 jsonb array of the refused calls; `actor` NULL: no token named the caller
-- The actor is then `unknown`. No subject can have that name, because it has no colon.
-- Served by: audit_pkey.
INSERT INTO audit (at, actor, action, target, seq, detail)
SELECT
    ledger_now(), coalesce(r.actor, 'unknown'), 'refused', r.call, NULL,
    jsonb_strip_nulls(jsonb_build_object(
        'status', r.status, 'reason', r.why, 'source', r.source,
        'withheld', nullif(r.withheld, 0)
    ))
FROM jsonb_to_recordset($1::jsonb) AS r (
    actor text, call text, status integer, why text, source text, withheld bigint
)
