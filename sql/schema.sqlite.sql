-- The schema of the embedded database, as `chat-server db init` makes it (SQLite >= 3.35). sql/schema.sql is the same for MySQL.
--
-- `entry` names a log entry over all logs: number of the log * 2^40 + index in that log. Tables of the hot path are written in the
-- order of the log and carry no foreign keys: their writers hold the parent rows already, and a check for each row would be the most
-- expensive part of a commit.

CREATE TABLE schema_migrations (
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  applied_at INTEGER NOT NULL
);

-- `presence`: 0 online, 1 away, 2 dnd, 3 invisible. (The last line is as SQLite writes what was added to a table.)
CREATE TABLE users (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  email VARCHAR(255) NOT NULL UNIQUE,
  username VARCHAR(255) NOT NULL UNIQUE,
  display_name VARCHAR(255),
  salt VARBINARY(16) NOT NULL,
  pwd_hash CHAR(64) NOT NULL,
  server_key BLOB NOT NULL,
  pwd_kdf VARCHAR(64) NOT NULL,
  cert_identity VARCHAR(1024) NOT NULL,
  status VARCHAR(16) NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
  created_at INTEGER NOT NULL,
  last_seen INTEGER,
  device_epoch INTEGER NOT NULL DEFAULT 0
, presence INTEGER NOT NULL DEFAULT 0, shows_last_seen INTEGER NOT NULL DEFAULT 1);

CREATE TABLE devices (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users (id),
  fingerprint BLOB NOT NULL UNIQUE,
  serial_key BLOB NOT NULL,
  spki_hash BLOB NOT NULL,
  chain BLOB NOT NULL,
  not_after INTEGER NOT NULL,
  first_seen INTEGER NOT NULL,
  revoked_at INTEGER
, continued_by INTEGER);
CREATE INDEX devices_user ON devices (user_id);
CREATE INDEX devices_serial ON devices (serial_key);
CREATE INDEX devices_spki ON devices (spki_hash);
CREATE INDEX devices_continued ON devices (continued_by) WHERE continued_by IS NOT NULL;

CREATE TABLE login_failures (
  subject BLOB PRIMARY KEY, -- SHA-256 of the subject's name
  failures INTEGER NOT NULL,
  locked_until INTEGER NOT NULL
) WITHOUT ROWID;

-- `user_high` alone is null for the conversation of one user's own devices.
CREATE TABLE conversations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation BLOB NOT NULL UNIQUE,
  user_low INTEGER REFERENCES users (id), -- both are null for a room
  user_high INTEGER REFERENCES users (id),
  created_at INTEGER NOT NULL,
  UNIQUE (user_low, user_high),
  CHECK (user_low < user_high)
);
CREATE INDEX conversations_user_high ON conversations (user_high);

-- The newest `seq` of each conversation. Whoever adds a message holds this row.
CREATE TABLE sequences (
  conversation_id INTEGER PRIMARY KEY,
  last_seq INTEGER NOT NULL
);

CREATE TABLE logs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  origin BLOB NOT NULL UNIQUE,
  size INTEGER NOT NULL
);

CREATE TABLE log_certificates (
  log_id INTEGER NOT NULL,
  fingerprint BLOB NOT NULL,
  window_end INTEGER NOT NULL, -- size of the log after the window that holds the CERT leaf
  PRIMARY KEY (log_id, fingerprint)
) WITHOUT ROWID;

CREATE TABLE sessions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  fingerprint BLOB NOT NULL,
  session BLOB NOT NULL,
  is_closed INTEGER NOT NULL DEFAULT 0, -- 1: the device has said that nothing follows
  UNIQUE (session, fingerprint)
);

CREATE TABLE batches (
  entry INTEGER PRIMARY KEY,
  session_id INTEGER NOT NULL,
  first_ctr INTEGER NOT NULL,
  message_count INTEGER NOT NULL,
  server_time INTEGER NOT NULL,
  batch_hash BLOB NOT NULL,
  sigb BLOB NOT NULL,
  UNIQUE (session_id, first_ctr)
);

-- `reached` is 3 for a commit, and for what is not threaded (`seq` and `conv_ctr` 0): nobody is told what became of it. `conversation_id` is 0
-- for what is of no conversation.
CREATE TABLE messages (
  entry INTEGER PRIMARY KEY,
  batch_entry INTEGER NOT NULL,
  session_id INTEGER NOT NULL,
  conversation_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  conv_ctr INTEGER NOT NULL,
  sender_user_id INTEGER NOT NULL,
  sender_device_id INTEGER NOT NULL,
  waiting INTEGER NOT NULL,  -- queue rows that still refer to the content
  reached INTEGER NOT NULL,  -- 1: a device of the other user keeps it, 2: given up
  expires_at INTEGER,        -- null: known from the log alone
  statement_hash BLOB NOT NULL,
  previous_hash BLOB,        -- the same device's message before it in the conversation
  targets BLOB               -- u32 device, u48 cursor for each recipient; null: known from the log alone
);

CREATE TABLE contents (
  entry INTEGER PRIMARY KEY,
  statement BLOB NOT NULL,
  parts BLOB NOT NULL,       -- u32 count, count x u32 length, bytes
  generation INTEGER NOT NULL, -- of the group that it is encrypted for; 0: it is not
  epoch INTEGER NOT NULL
);

CREATE TABLE expiries (
  expires_at INTEGER NOT NULL,
  entry INTEGER NOT NULL,
  PRIMARY KEY (expires_at, entry)
) WITHOUT ROWID;

-- One row for each device: its newest cursor, and what waits in `queue`. Whoever changes the queue holds this row, so that cursors
-- become visible in their order.
CREATE TABLE mailboxes (
  device_id INTEGER PRIMARY KEY,
  last_cursor INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  items INTEGER NOT NULL
);

CREATE TABLE queue (
  device_id INTEGER NOT NULL,
  cursor_no INTEGER NOT NULL,
  kind INTEGER NOT NULL,     -- 0 message, 2 expired
  entry INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  by_user_id INTEGER,
  at_ms INTEGER,
  PRIMARY KEY (device_id, cursor_no)
) WITHOUT ROWID;

CREATE TABLE lineage_counters (
  session_id INTEGER NOT NULL,
  conversation_id INTEGER NOT NULL,
  conv_ctr INTEGER NOT NULL,
  PRIMARY KEY (session_id, conversation_id)
) WITHOUT ROWID;

CREATE TABLE lineage_heads (
  conversation_id INTEGER NOT NULL,
  fingerprint BLOB NOT NULL,
  statement_hash BLOB NOT NULL,
  PRIMARY KEY (conversation_id, fingerprint)
) WITHOUT ROWID;

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

-- What lets those in whom a commit has added, for as long as their invitation may wait.
CREATE TABLE group_infos (
  entry INTEGER PRIMARY KEY, -- the commit
  conversation_id INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  epoch INTEGER NOT NULL,    -- that it made
  group_info BLOB NOT NULL
);
CREATE INDEX group_infos_conversation ON group_infos (conversation_id, entry);

-- What is too large for one frame.
CREATE TABLE blobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id INTEGER NOT NULL REFERENCES devices (id),
  hash BLOB NOT NULL,        -- SHA-256 of the whole
  size INTEGER NOT NULL,
  have INTEGER NOT NULL,     -- bytes that are there, in pieces of 262,144 and a last one
  put_at INTEGER NOT NULL,
  entry INTEGER NOT NULL,    -- the commit that refers to it; 0: none does
  kind INTEGER NOT NULL      -- 1 from its parts, 2 from its GroupInfo
);
CREATE INDEX blobs_hash ON blobs (hash);
CREATE INDEX blobs_device ON blobs (device_id, entry);
CREATE INDEX blobs_entry ON blobs (entry, put_at);
CREATE TABLE blob_pieces (
  blob_id INTEGER NOT NULL,
  n INTEGER NOT NULL,
  piece BLOB NOT NULL,
  PRIMARY KEY (blob_id, n)
);

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

-- Contacts: what each user's row says about another. `state`: 1 asked, 2 has to answer, 3 contact, 4 blocked.
CREATE TABLE contacts (
  user_id INTEGER NOT NULL REFERENCES users (id),
  other_id INTEGER NOT NULL REFERENCES users (id),
  state INTEGER NOT NULL CHECK (state IN (1, 2, 3, 4)),
  changed_at INTEGER NOT NULL,
  PRIMARY KEY (user_id, other_id)
) WITHOUT ROWID;

-- Conversations with a name.
CREATE TABLE rooms (
  conversation_id INTEGER PRIMARY KEY REFERENCES conversations (id),
  name VARCHAR(64) NOT NULL UNIQUE,
  is_public INTEGER NOT NULL,
  topic VARCHAR(512),        -- written by people
  epoch INTEGER NOT NULL     -- grows with every change of the members
);

CREATE TABLE room_members (
  conversation_id INTEGER NOT NULL,
  user_id INTEGER NOT NULL REFERENCES users (id),
  role INTEGER NOT NULL,     -- 1 member, 2 admin, 3 owner
  PRIMARY KEY (conversation_id, user_id)
) WITHOUT ROWID;
CREATE INDEX room_members_user ON room_members (user_id, role);

CREATE TABLE room_bans (
  conversation_id INTEGER NOT NULL,
  user_id INTEGER NOT NULL REFERENCES users (id),
  PRIMARY KEY (conversation_id, user_id)
) WITHOUT ROWID;
CREATE INDEX room_bans_user ON room_bans (user_id);

INSERT INTO schema_migrations (version, name, applied_at) VALUES (1, 'start', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (2, 'groups', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (3, 'contacts', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (4, 'rooms', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (5, 'receipts', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (6, 'invitations', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (7, 'presence', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (8, 'blobs', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (9, 'continuity', 0);
