-- MLS groups, bindings and key packages.
ALTER TABLE contents RENAME TO old_contents;
CREATE TABLE contents (
  entry INTEGER PRIMARY KEY,
  statement BLOB NOT NULL,
  parts BLOB NOT NULL,       -- u32 count, count x u32 length, bytes
  generation INTEGER NOT NULL, -- of the group that it is encrypted for; 0: it is not
  epoch INTEGER NOT NULL
);
INSERT INTO contents (entry, statement, parts, generation, epoch) SELECT entry, statement, parts, 0, 0 FROM old_contents;
DROP TABLE old_contents;

-- The MLS group of a conversation, as its newest commit made it.
CREATE TABLE conversation_groups (
  conversation_id INTEGER PRIMARY KEY,
  generation INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  entry INTEGER NOT NULL,    -- the commit
  group_info BLOB            -- null: only the log knows the commit
);

-- What each commit made, and the one before it, so that it can be taken back.
CREATE TABLE group_commits (
  entry INTEGER PRIMARY KEY,
  conversation_id INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  previous_entry INTEGER
);
CREATE INDEX group_commits_conversation ON group_commits (conversation_id);

CREATE TABLE bindings (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id INTEGER NOT NULL REFERENCES devices (id),
  hash BLOB NOT NULL,        -- SHA-256 of the binding
  binding BLOB NOT NULL,
  UNIQUE (device_id, hash)
);
CREATE INDEX bindings_hash ON bindings (hash);

-- What nobody has taken yet.
CREATE TABLE key_packages (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id INTEGER NOT NULL REFERENCES devices (id),
  last_resort INTEGER NOT NULL, -- 1: the one of each device that stays
  package BLOB NOT NULL
);
CREATE INDEX key_packages_device ON key_packages (device_id, last_resort, id);
