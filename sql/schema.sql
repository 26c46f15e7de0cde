-- Today's schema for MySQL 8.0 and MariaDB 10.11, for an empty database: mysql NAME < sql/schema.sql
-- `chat-server db init` makes the same. No table holds the text of a message in the clear, nor a password.
--
-- `entry` names a log entry over all logs: number of the log * 2^40 + index in that log. Tables of the hot path are written in the
-- order of the log and carry no foreign keys: their writers hold the parent rows already, and a check for each row would lock the
-- parents of others and be the most expensive part of a commit.

CREATE TABLE schema_migrations (
  version INT UNSIGNED NOT NULL PRIMARY KEY,
  name VARCHAR(64) NOT NULL,
  applied_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE users (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(255) NOT NULL,
  username VARCHAR(255) NOT NULL,
  display_name VARCHAR(255),
  salt VARBINARY(16) NOT NULL,
  pwd_hash CHAR(64) NOT NULL,
  server_key VARBINARY(64) NOT NULL,
  pwd_kdf VARCHAR(64) NOT NULL,
  cert_identity VARCHAR(1024) NOT NULL,
  status VARCHAR(16) NOT NULL DEFAULT 'active',
  created_at BIGINT NOT NULL,
  last_seen BIGINT,
  device_epoch BIGINT NOT NULL DEFAULT 0,
  presence TINYINT NOT NULL DEFAULT 0, -- 0 online, 1 away, 2 dnd, 3 invisible
  shows_last_seen TINYINT NOT NULL DEFAULT 1,
  UNIQUE KEY users_email (email),
  UNIQUE KEY users_username (username),
  CONSTRAINT users_status CHECK (status IN ('active', 'suspended'))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE devices (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  user_id INT UNSIGNED NOT NULL,
  fingerprint BINARY(32) NOT NULL,
  serial_key VARBINARY(512) NOT NULL,
  spki_hash BINARY(32) NOT NULL,
  chain MEDIUMBLOB NOT NULL,
  not_after BIGINT NOT NULL,
  first_seen BIGINT NOT NULL,
  revoked_at BIGINT,
  continued_by INT UNSIGNED, -- the device that has taken its place, under another certificate
  UNIQUE KEY devices_fingerprint (fingerprint),
  KEY devices_user (user_id),
  KEY devices_serial (serial_key),
  KEY devices_spki (spki_hash),
  KEY devices_continued (continued_by),
  CONSTRAINT devices_user_id FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `subject` is the SHA-256 of the subject's name. `locked_until`, when it is over, is the time of the last failure.
CREATE TABLE login_failures (
  subject BINARY(32) NOT NULL PRIMARY KEY,
  failures INT UNSIGNED NOT NULL,
  locked_until BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `user_low` and `user_high` are both null for a room; `user_high` alone for the conversation of one user's own devices.
CREATE TABLE conversations (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  conversation BINARY(32) NOT NULL,
  user_low INT UNSIGNED,
  user_high INT UNSIGNED,
  created_at BIGINT NOT NULL,
  UNIQUE KEY conversations_conversation (conversation),
  UNIQUE KEY conversations_user_low (user_low, user_high),
  KEY conversations_user_high (user_high),
  CONSTRAINT conversations_low FOREIGN KEY (user_low) REFERENCES users (id),
  CONSTRAINT conversations_high FOREIGN KEY (user_high) REFERENCES users (id),
  CONSTRAINT conversations_order CHECK (user_low < user_high)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The newest `seq` of each conversation. Whoever adds a message holds this row.
CREATE TABLE sequences (
  conversation_id INT UNSIGNED NOT NULL PRIMARY KEY,
  last_seq BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE logs (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  origin VARBINARY(255) NOT NULL,
  size BIGINT NOT NULL,
  UNIQUE KEY logs_origin (origin)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `window_end` is the size of the log after the window that holds the CERT leaf.
CREATE TABLE log_certificates (
  log_id INT UNSIGNED NOT NULL,
  fingerprint BINARY(32) NOT NULL,
  window_end BIGINT NOT NULL,
  PRIMARY KEY (log_id, fingerprint)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE sessions (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  fingerprint BINARY(32) NOT NULL,
  session BINARY(16) NOT NULL,
  is_closed TINYINT NOT NULL DEFAULT 0,
  UNIQUE KEY sessions_session (session, fingerprint)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE batches (
  entry BIGINT NOT NULL PRIMARY KEY,
  session_id INT UNSIGNED NOT NULL,
  first_ctr BIGINT NOT NULL,
  message_count INT UNSIGNED NOT NULL,
  server_time BIGINT NOT NULL,
  batch_hash BINARY(32) NOT NULL,
  sigb VARBINARY(4096) NOT NULL,
  UNIQUE KEY batches_session_id (session_id, first_ctr)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `waiting`: queue rows that still refer to the content. `reached`: 1 a device of the other user keeps it, 2 given up, 3 nobody is told
-- (commits, and what is not threaded: `seq` and `conv_ctr` 0). `conversation_id` is 0 for what is of no conversation.
-- `expires_at` and `targets` are null while the message is known from the log alone. `previous_hash`: the same device's message
-- before it in the conversation. `targets`: u32 device, u48 cursor for each recipient.
CREATE TABLE messages (
  entry BIGINT NOT NULL PRIMARY KEY,
  batch_entry BIGINT NOT NULL,
  session_id INT UNSIGNED NOT NULL,
  conversation_id INT UNSIGNED NOT NULL,
  seq BIGINT NOT NULL,
  conv_ctr BIGINT NOT NULL,
  sender_user_id INT UNSIGNED NOT NULL,
  sender_device_id INT UNSIGNED NOT NULL,
  waiting INT NOT NULL,
  reached TINYINT NOT NULL,
  expires_at BIGINT,
  statement_hash BINARY(32) NOT NULL,
  previous_hash BINARY(32),
  targets BLOB
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `parts`: u32 count, count x u32 length, bytes. `generation`, `epoch`: of the group that it is encrypted for; 0: it is not.
CREATE TABLE contents (
  entry BIGINT NOT NULL PRIMARY KEY,
  statement VARBINARY(512) NOT NULL,
  parts MEDIUMBLOB NOT NULL,
  generation INT UNSIGNED NOT NULL DEFAULT 0,
  epoch BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE expiries (
  expires_at BIGINT NOT NULL,
  entry BIGINT NOT NULL,
  PRIMARY KEY (expires_at, entry)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row for each device: its newest cursor, and what waits in `queue`. Whoever changes the queue holds this row, so that cursors
-- become visible in their order.
CREATE TABLE mailboxes (
  device_id INT UNSIGNED NOT NULL PRIMARY KEY,
  last_cursor BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  items BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `kind`: 0 message, 2 expired.
CREATE TABLE queue (
  device_id INT UNSIGNED NOT NULL,
  cursor_no BIGINT NOT NULL,
  kind TINYINT NOT NULL,
  entry BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  by_user_id INT UNSIGNED,
  at_ms BIGINT,
  PRIMARY KEY (device_id, cursor_no)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE lineage_counters (
  session_id INT UNSIGNED NOT NULL,
  conversation_id INT UNSIGNED NOT NULL,
  conv_ctr BIGINT NOT NULL,
  PRIMARY KEY (session_id, conversation_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE lineage_heads (
  conversation_id INT UNSIGNED NOT NULL,
  fingerprint BINARY(32) NOT NULL,
  statement_hash BINARY(32) NOT NULL,
  PRIMARY KEY (conversation_id, fingerprint)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The MLS group of a conversation, as its newest commit (`entry`) made it. `group_info` is null while only the log knows that commit.
CREATE TABLE conversation_groups (
  conversation_id INT UNSIGNED NOT NULL PRIMARY KEY,
  generation INT UNSIGNED NOT NULL,
  epoch BIGINT NOT NULL,
  entry BIGINT NOT NULL,
  group_info MEDIUMBLOB
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What each commit made, and the one before it, so that it can be taken back.
CREATE TABLE group_commits (
  entry BIGINT NOT NULL PRIMARY KEY,
  conversation_id INT UNSIGNED NOT NULL,
  generation INT UNSIGNED NOT NULL,
  epoch BIGINT NOT NULL,
  previous_entry BIGINT,
  KEY group_commits_conversation (conversation_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What lets those in whom a commit (`entry`) has added, for as long as their invitation may wait. `epoch` is the one that it made.
CREATE TABLE group_infos (
  entry BIGINT NOT NULL PRIMARY KEY,
  conversation_id INT UNSIGNED NOT NULL,
  generation INT UNSIGNED NOT NULL,
  epoch BIGINT NOT NULL,
  group_info MEDIUMBLOB NOT NULL,
  KEY group_infos_conversation (conversation_id, entry)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What is too large for one frame. `entry`: the commit that refers to it, 0 while none does; `kind`: 1 from its parts, 2 from its GroupInfo.
-- `have`: bytes that are there, in pieces of 262,144 and a last one.
CREATE TABLE blobs (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  device_id INT UNSIGNED NOT NULL,
  hash BINARY(32) NOT NULL,
  size INT UNSIGNED NOT NULL,
  have INT UNSIGNED NOT NULL,
  put_at BIGINT NOT NULL,
  entry BIGINT NOT NULL,
  kind TINYINT NOT NULL,
  KEY blobs_hash (hash),
  KEY blobs_device (device_id, entry),
  KEY blobs_entry (entry, put_at),
  CONSTRAINT blobs_device_id FOREIGN KEY (device_id) REFERENCES devices (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE blob_pieces (
  blob_id BIGINT NOT NULL,
  n INT UNSIGNED NOT NULL,
  piece MEDIUMBLOB NOT NULL,
  PRIMARY KEY (blob_id, n)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `hash` is the SHA-256 of the binding.
CREATE TABLE bindings (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  device_id INT UNSIGNED NOT NULL,
  hash BINARY(32) NOT NULL,
  binding MEDIUMBLOB NOT NULL,
  UNIQUE KEY bindings_device_id (device_id, hash),
  KEY bindings_hash (hash),
  CONSTRAINT bindings_device FOREIGN KEY (device_id) REFERENCES devices (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What nobody has taken yet. `last_resort`: 1 for the one of each device that stays.
CREATE TABLE key_packages (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  device_id INT UNSIGNED NOT NULL,
  last_resort TINYINT NOT NULL,
  package BLOB NOT NULL,
  KEY key_packages_device (device_id, last_resort, id),
  CONSTRAINT key_packages_device_id FOREIGN KEY (device_id) REFERENCES devices (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Contacts: what each user's row says about another. `state`: 1 asked, 2 has to answer, 3 contact, 4 blocked.
CREATE TABLE contacts (
  user_id INT UNSIGNED NOT NULL,
  other_id INT UNSIGNED NOT NULL,
  state TINYINT NOT NULL,
  changed_at BIGINT NOT NULL,
  PRIMARY KEY (user_id, other_id),
  KEY contacts_other (other_id),
  CONSTRAINT contacts_user FOREIGN KEY (user_id) REFERENCES users (id),
  CONSTRAINT contacts_other FOREIGN KEY (other_id) REFERENCES users (id),
  CONSTRAINT contacts_state CHECK (state IN (1, 2, 3, 4))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Conversations with a name. `epoch` grows with every change of the members. `topic` is written by people.
CREATE TABLE rooms (
  conversation_id INT UNSIGNED NOT NULL PRIMARY KEY,
  name VARCHAR(64) NOT NULL,
  is_public TINYINT NOT NULL,
  topic VARCHAR(512),
  epoch BIGINT NOT NULL,
  UNIQUE KEY rooms_name (name),
  CONSTRAINT rooms_conversation FOREIGN KEY (conversation_id) REFERENCES conversations (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `role`: 1 member, 2 admin, 3 owner.
CREATE TABLE room_members (
  conversation_id INT UNSIGNED NOT NULL,
  user_id INT UNSIGNED NOT NULL,
  role TINYINT NOT NULL,
  PRIMARY KEY (conversation_id, user_id),
  KEY room_members_user (user_id, role),
  CONSTRAINT room_members_user_id FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE room_bans (
  conversation_id INT UNSIGNED NOT NULL,
  user_id INT UNSIGNED NOT NULL,
  PRIMARY KEY (conversation_id, user_id),
  KEY room_bans_user (user_id),
  CONSTRAINT room_bans_user_id FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO schema_migrations (version, name, applied_at) VALUES (1, 'start', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (2, 'groups', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (3, 'contacts', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (4, 'rooms', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (5, 'receipts', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (6, 'invitations', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (7, 'presence', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (8, 'blobs', 0);
INSERT INTO schema_migrations (version, name, applied_at) VALUES (9, 'continuity', 0);
