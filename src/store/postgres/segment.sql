-- The tables of segment {k}. They are dropped whole when what they hold is older than the history and nothing waits in them.

CREATE TABLE event_{k} (                -- only inserted into; its body and its flags change when a person is forgotten or values are redacted
  n int8 PRIMARY KEY,
  slot int2 NOT NULL,                   -- the stream that it came by
  id uuid NOT NULL,
  received_ms int8 NOT NULL,            -- when it came, by the clock of its relay
  source int4 NOT NULL,
  hold int4,                            -- which of the holds of its source it came in under
  is_erased bool NOT NULL DEFAULT false,
  is_redacted bool NOT NULL DEFAULT false,
  rules int4[] NOT NULL,                -- that matched, in order
  destinations int4[] NOT NULL,         -- where it goes
  by_rule int4[] NOT NULL,              -- and by which rule each
  body bytea NOT NULL,
  stored_ms int8 NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::int8)   -- when it came, by the clock that ages go by
  WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
CREATE INDEX event_{k}_stream ON event_{k} (slot, n);

-- Inserted with its event, updated when it is settled, and never deleted: a row that is missing is a fault. Room in each page for a second version keeps
-- the common update out of all indexes. No index may name `state`, `at_ms` or `attempts`, not even in its WHERE: that would undo it.
CREATE TABLE delivery_{k} (
  dest int4,
  n int8,
  at_ms int8,                           -- since when its state is that; null: since its event came
  due_ms int8,                          -- of a retry; 0: it is to go out again, in its turn
  first_ms int8,                        -- when the first attempt was
  dead_ms int8,                         -- of a dead letter: since when
  hold int4,                            -- as its event's
  moved_to int4,                        -- which other destination was given it
  attempts int2 NOT NULL DEFAULT 0,
  state delivery_state NOT NULL DEFAULT 'waiting',
  reason text,                          -- of retries, dead letters and what was skipped
  PRIMARY KEY (dest, n),
  CHECK ((due_ms IS NOT NULL) = (state = 'retry')), CHECK ((dead_ms IS NOT NULL) = (state = 'dead')))
  WITH (fillfactor = 45, autovacuum_enabled = off, toast.autovacuum_enabled = off);
CREATE INDEX delivery_{k}_due ON delivery_{k} (dest, due_ms, n) WHERE due_ms IS NOT NULL;
CREATE INDEX delivery_{k}_dead ON delivery_{k} (dest, n) WHERE dead_ms IS NOT NULL;

CREATE TABLE attempt_{k} (              -- attempts that failed, and the one that succeeded after such
  n int8, dest int4, at_ms int8, took_ms int8 NOT NULL, outcome text NOT NULL, status int4, reason text NOT NULL, answer text NOT NULL,
  PRIMARY KEY (n, dest, at_ms))
  WITH (autovacuum_enabled = off);
