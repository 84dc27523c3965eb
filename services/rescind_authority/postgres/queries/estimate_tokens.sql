-- Estimates how many tokens have all the given handles, from the planner's statistics. Reads no token.
-- $1 text[] handles
-- Served by: the statistics of ANALYZE.
SELECT estimate_tokens($1::text[]) AS estimate
