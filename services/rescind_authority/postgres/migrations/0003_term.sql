-- The lease term that was asked for, and a number that every change of a term raises.

ALTER TABLE ledger_head
    ADD COLUMN term_target_ms bigint CHECK (term_target_ms > 0),
    ADD COLUMN term_version   bigint NOT NULL DEFAULT 0;
