-- Estimates how many tokens have all the handles $1, as Postgres's planner does: it reads no token.
-- Served by: the statistics of ANALYZE.
SELECT estimate_tokens($1::text[]) AS estimate
