-- Version 1 of what vero-relay keeps in one schema of a PostgreSQL database, version 15 or later. There is no extension, trigger, function,
-- advisory lock, partition or foreign key in it. A person may read all of it at any time; only vero-relay writes.
--
-- Times are milliseconds since 1970 by the clock of the database. An event has a number, `n`, greater than those of all events that were
-- acknowledged before it came. Ids of names are numbers of the table `name`.

CREATE TYPE delivery_state AS ENUM ('waiting', 'retry', 'delivered', 'skipped', 'dead', 'dropped', 'moved');

-- One row. A program of another version works here if the schema's version is at least its own and its own is at least min_version.
CREATE TABLE meta (
  one bool PRIMARY KEY DEFAULT true CHECK (one),
  schema_version int NOT NULL,
  min_version int NOT NULL,
  cluster int8 NOT NULL,                -- the store's own number, drawn once
  erased int8 NOT NULL DEFAULT 0,       -- counts up when something was erased, so that each relay lets go of what it has in memory
  trims_asked int8 NOT NULL DEFAULT 0, trims_done int8 NOT NULL DEFAULT 0,   -- how often it was asked to let go of what need not be kept
  dead_bytes int8 NOT NULL DEFAULT 0,   -- of events in segment 0 that are kept for a dead letter alone,
  dead_below int8 NOT NULL DEFAULT 0);  -- and up to where they are too many

-- Where events have their numbers from. It is set forward whenever a relay connects, so that no number is given twice, also by a
-- standby that has lost the newest of them.
CREATE SEQUENCE event_number AS int8 MINVALUE 1;

CREATE TABLE name (
  id int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('destination', 'source', 'rule')),
  name text NOT NULL,
  changed int8 NOT NULL,                -- greater with each change of this table, to see what is new
  UNIQUE (kind, name));
CREATE SEQUENCE name_changed AS int8;   -- of names and of sources
CREATE TABLE former_name (              -- what destinations were called before
  kind text, name text, id int4 NOT NULL, changed int8 NOT NULL, PRIMARY KEY (kind, name));

-- How sources stand. `hold` counts how often one was held; an event that comes in meanwhile has that number. `let_go` says of those that are over
-- when they ended: {"1": ms, …}.
CREATE TABLE source (
  id int4 PRIMARY KEY,
  paused_since_ms int8, pause_reason text,
  held_since_ms int8, hold int4 NOT NULL DEFAULT 0,
  let_go jsonb NOT NULL DEFAULT '{}',
  changed int8 NOT NULL DEFAULT 0);     -- greater with each change, to know the newest

-- The processes that take part. A row is gone when its relay has stopped, and is taken away when its heartbeat has stood still for long.
CREATE TABLE relay (
  incarnation int8 PRIMARY KEY,         -- drawn anew at each start
  name text NOT NULL,
  heartbeat int8 NOT NULL,              -- counts up each second. Alive is whose counter moves
  info jsonb NOT NULL);                 -- version, config, what it wants to do, what it keeps for how long

-- Who does what: `destination/12`, `rate-limit-group/…`, `stream/3`, `replay/…`, `housekeeping`. A row changes only with its owner, and its
-- epoch counts how often. Whoever changes something names the epoch and locks the row.
CREATE TABLE lease (
  duty text PRIMARY KEY,
  epoch int8 NOT NULL,
  incarnation int8);                    -- null: nobody

-- Each relay appends to a stream of its own, one statement at a time: who has seen one of its events has seen all with smaller numbers.
CREATE TABLE stream (
  slot int2 PRIMARY KEY,
  segment int4 NOT NULL,                -- where its relay appends now: to none before it, for good
  n_from int8 NOT NULL);                -- nothing new of it comes at or below this number

-- Segment 0 is for what outlives its own. Of the others, the newest is written to; `closed`: nothing new comes in it; `closing`: its time is over,
-- and what of it is still needed goes to segment 0; `gone`: nothing of it is needed, and it is dropped after a while.
CREATE TABLE segment (
  k int4 PRIMARY KEY,
  state text NOT NULL CHECK (state IN ('open', 'closed', 'closing', 'gone')),
  since_ms int8 NOT NULL DEFAULT 0,     -- since when its state is that
  opened_ms int8 NOT NULL, closed_ms int8,
  n_from int8 NOT NULL, n_until int8,   -- all of its events are above the first, and at or below the second once it is closed
  bytes int8,                           -- when it was closed
  faults int8);                         -- rows that were missing or in the wrong place when it was closed; null: not looked at yet

-- Written by its owner alone.
CREATE TABLE destination (
  id int4 PRIMARY KEY,
  floor int8 NOT NULL DEFAULT 0,        -- no delivery waits below this number that was never attempted
  paused_since_ms int8, pause_reason text,
  open_since_ms int8, removed_since_ms int8,
  stopped_since_ms int8,                -- since when time does not count: it is paused, or its breaker is open
  section text,                         -- fingerprint of the config section that delivered last
  shown jsonb NOT NULL DEFAULT '{}');   -- what waits, for who looks from another relay; and as of when

CREATE TABLE delivery_window (          -- open windows, which gather what goes out as one digest
  dest int4, key bytea, address int8 NOT NULL, opened_ms int8 NOT NULL, ends_ms int8 NOT NULL, passed int8 NOT NULL,
  PRIMARY KEY (dest, key));
CREATE TABLE digest (                   -- closed digests that are not settled; of the members, those count that wait
  dest int4, id int8, closed_ms int8 NOT NULL, attempts int4 NOT NULL DEFAULT 0, first_ms int8, due_ms int8 NOT NULL, reason text,
  members bytea NOT NULL,
  PRIMARY KEY (dest, id));
CREATE TABLE remembered (               -- what attempts leave behind for those that follow
  dest int4, key text, text text NOT NULL, number int8 NOT NULL, PRIMARY KEY (dest, key));
CREATE TABLE memo (                     -- what parts of the relay write down
  key text PRIMARY KEY, text text NOT NULL);

-- Asked for by anybody, carried out by the owner, remembered for a while so that the same one again is done once.
CREATE TABLE command (
  id uuid PRIMARY KEY,
  of int4 NOT NULL,                     -- the destination or source
  kind int2 NOT NULL, other int4,       -- what is done, and which other destination is named
  next int4,                            -- that other destination, once it is its owner who goes on
  asked int8 NOT NULL,                  -- a fingerprint of what was asked for, two's complement
  what text,                            -- JSON: what is to be done; once it is done nothing, or what came of it
  asked_ms int8 NOT NULL, done_ms int8, deliveries int8);
CREATE INDEX ON command (of) WHERE done_ms IS NULL;
CREATE INDEX ON command (done_ms);
CREATE TABLE handover (                 -- deliveries that a destination has given up for the one that goes on with the command
  command uuid, n int8,
  state delivery_state NOT NULL,        -- how they go on there
  attempts int2 NOT NULL, due_ms int8, first_ms int8, dead_ms int8, reason text,
  PRIMARY KEY (command, n));

CREATE TABLE replay (
  id uuid PRIMARY KEY, spec text NOT NULL, cursor int8 NOT NULL, until int8 NOT NULL, selected int8 NOT NULL, at_ms int8 NOT NULL,
  done bool NOT NULL);

-- Rows of these are updated each second or more often: room for that in their pages, and a vacuum that comes soon.
ALTER TABLE relay SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE lease SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE stream SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE destination SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE digest SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE command SET (autovacuum_vacuum_scale_factor = 0.02);
