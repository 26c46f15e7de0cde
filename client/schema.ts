/**
 * The tables of the vault, and how each version of them becomes the next. The version of a file is the number of steps that it has
 * behind it; all that are missing are taken in the transaction that opens it.
 */

const FIRST = `
CREATE TABLE value (name TEXT PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE TABLE session (id BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, last_ctr INTEGER NOT NULL, last_batch BLOB NOT NULL,
  is_current INTEGER NOT NULL) STRICT;
CREATE TABLE conversation (id BLOB PRIMARY KEY, sealed BLOB NOT NULL, session BLOB, conv_ctr INTEGER NOT NULL,
  last_leaf BLOB NOT NULL) STRICT;
CREATE TABLE certificate (fingerprint BLOB PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE TABLE message (row INTEGER PRIMARY KEY, conversation BLOB NOT NULL, direction TEXT NOT NULL CHECK (direction IN ('in','out')),
  state TEXT NOT NULL CHECK (state IN ('waiting','signed','accepted','delivered','failed','received')),
  seq INTEGER, hash BLOB UNIQUE, is_solo INTEGER NOT NULL DEFAULT 0,
  is_shown INTEGER NOT NULL DEFAULT 0, sealed BLOB NOT NULL) STRICT;
CREATE INDEX message_order ON message (conversation, seq, row);
CREATE INDEX message_state ON message (state, row);
CREATE INDEX message_unshown ON message (row) WHERE direction = 'in' AND is_shown = 0;
CREATE TABLE outbox (hash BLOB PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE TABLE evidence (hash BLOB PRIMARY KEY, origin TEXT NOT NULL, sealed BLOB NOT NULL) STRICT;
CREATE TABLE checkpoint (origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL,
  is_proven INTEGER NOT NULL, PRIMARY KEY (origin, size, root)) STRICT;
CREATE TABLE origin (origin TEXT PRIMARY KEY, vkey TEXT NOT NULL, statement TEXT NOT NULL, algorithm INTEGER NOT NULL,
  signature BLOB NOT NULL, certificate BLOB NOT NULL) STRICT;
CREATE TABLE sender (fingerprint BLOB NOT NULL, session BLOB NOT NULL, conversation BLOB NOT NULL, conv_ctr INTEGER NOT NULL,
  last_leaf BLOB NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (fingerprint, session, conversation)) STRICT;
CREATE TABLE receipt (message BLOB NOT NULL, by_hash BLOB NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (message, by_hash)) STRICT;
CREATE TABLE alarm (row INTEGER PRIMARY KEY, at INTEGER NOT NULL, code TEXT NOT NULL, subject BLOB NOT NULL, sealed BLOB NOT NULL,
  UNIQUE (code, subject)) STRICT;
`;

/** Own device, key packages, bindings and groups of end-to-end encryption; and what tells whether somebody uses a new device. */
const GROUPS = `
CREATE TABLE binding (hash BLOB PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE TABLE key_package (reference BLOB PRIMARY KEY, is_last_resort INTEGER NOT NULL, is_published INTEGER NOT NULL,
  not_after INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
CREATE TABLE known_device (hash BLOB PRIMARY KEY, user_hash BLOB NOT NULL, device_hash BLOB NOT NULL) STRICT;
CREATE INDEX known_device_user ON known_device (user_hash, device_hash);
CREATE TABLE group_state (conversation BLOB NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('current','entry')),
  generation INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (conversation, kind)) STRICT;
CREATE TABLE group_delta (conversation BLOB NOT NULL, n INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (conversation, n)) STRICT;
CREATE TABLE group_commit (hash BLOB PRIMARY KEY, conversation BLOB NOT NULL, seq INTEGER NOT NULL) STRICT;
-- A batch of the first version is not encrypted end to end: its messages are signed anew, in their groups.
DELETE FROM outbox;
UPDATE message SET state = 'waiting', hash = NULL WHERE state = 'signed';
`;

/** Whom this profile has invited into rooms. A conversation with a room's name in it is not for a client that knows none. */
const ROOMS = `
CREATE TABLE room_invitation (conversation BLOB NOT NULL, user_hash BLOB NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (conversation, user_hash)) STRICT;
`;

/** When own keys in groups are to be replaced: Unix ms, and own messages until then. Of groups that are there already, nobody knows. */
const FRESHNESS = `
CREATE TABLE group_freshness (conversation BLOB PRIMARY KEY, due_at INTEGER NOT NULL, messages_left INTEGER NOT NULL) STRICT;
INSERT INTO group_freshness SELECT conversation, 1000 * unixepoch() + abs(random() % 604800000), 500 FROM group_state
  WHERE kind = 'current';
`;

/** Receipts as signed statements. What a server alone has said of a delivery is no word of a device: it counts as accepted. */
const RECEIPTS = `
DROP TABLE receipt;
CREATE TABLE receipt_due (row INTEGER NOT NULL, kind INTEGER NOT NULL, PRIMARY KEY (row, kind)) STRICT;
CREATE TABLE receipt_statement (hash BLOB NOT NULL UNIQUE, batch BLOB NOT NULL, conversation BLOB NOT NULL, kind INTEGER NOT NULL,
  is_mine INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
CREATE INDEX receipt_conversation ON receipt_statement (conversation);
CREATE TABLE receipt (message BLOB NOT NULL, statement BLOB NOT NULL, PRIMARY KEY (message, statement)) STRICT;
ALTER TABLE message ADD COLUMN is_read INTEGER NOT NULL DEFAULT 0;
UPDATE message SET state = 'accepted' WHERE state = 'delivered';
`;

/**
 * What a message means to others: `target` is leaf(MS) of what it reacts to, edits or deletes; `void` is one that changes nothing, because
 * its target is not here or not its author's. `gone`: content and key are erased. Rows from before keep their text as it was sent.
 */
const CONTENT = `
ALTER TABLE message ADD COLUMN role TEXT NOT NULL DEFAULT 'message'
  CHECK (role IN ('message','reaction','edit','delete','void'));
ALTER TABLE message ADD COLUMN target BLOB;
ALTER TABLE message ADD COLUMN expires_at INTEGER;
ALTER TABLE message ADD COLUMN gone TEXT CHECK (gone IN ('deleted','expired'));
CREATE INDEX message_target ON message (target) WHERE target IS NOT NULL;
CREATE INDEX message_expiry ON message (expires_at) WHERE expires_at IS NOT NULL AND gone IS NULL;
`;

/** Histories on their way between the devices of one user. */
const HANDOVERS = `
CREATE TABLE handover (archive BLOB PRIMARY KEY, direction TEXT NOT NULL CHECK (direction IN ('out','in','done')),
  sealed BLOB NOT NULL) STRICT;
CREATE TABLE handover_piece (archive BLOB NOT NULL, n INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (archive, n)) STRICT;
`;

/** What is told to the members of a conversation: statements that were seen, and when a checkpoint was told last. */
const GOSSIP = `
CREATE TABLE seen (conversation BLOB NOT NULL, device BLOB NOT NULL, session BLOB NOT NULL, conv_ctr INTEGER NOT NULL,
  leaf BLOB NOT NULL, is_told INTEGER NOT NULL, PRIMARY KEY (conversation, device, session, conv_ctr)) STRICT;
CREATE INDEX seen_news ON seen (conversation) WHERE is_told = 0;
CREATE TABLE told (conversation BLOB PRIMARY KEY, root BLOB NOT NULL, at INTEGER NOT NULL) STRICT;
INSERT INTO seen SELECT conversation, fingerprint, session, conv_ctr, last_leaf, 1 FROM sender;
`;

/** A session that began because what was known of the one before was wrong. */
const SESSION_LOSS = `
ALTER TABLE session ADD COLUMN is_after_loss INTEGER NOT NULL DEFAULT 0;
`;

/** How far this device has got in a conversation: beside its roster, which stays as it is with each message. */
const THREADS = `
CREATE TABLE thread (conversation BLOB PRIMARY KEY, session BLOB, conv_ctr INTEGER NOT NULL, last_leaf BLOB NOT NULL) STRICT;
INSERT INTO thread SELECT id, session, conv_ctr, last_leaf FROM conversation;
ALTER TABLE conversation DROP COLUMN session;
ALTER TABLE conversation DROP COLUMN conv_ctr;
ALTER TABLE conversation DROP COLUMN last_leaf;
`;

/** What has to be told; without its words: it was. */
const NOTICES = `
CREATE TABLE notice (row INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, subject BLOB UNIQUE, sealed BLOB) STRICT;
`;

/** The newest row is asked for with each message; a profile that has met many devices has many rows. */
const SENDER_ROWS = `
CREATE INDEX sender_row ON sender (row);
`;

/** Where what was seen stands in the log. */
const PLACES = `
ALTER TABLE seen ADD COLUMN batch BLOB;
ALTER TABLE seen ADD COLUMN log_index INTEGER;
`;

export const MIGRATIONS: readonly string[] = [
  FIRST,
  GROUPS,
  ROOMS,
  FRESHNESS,
  RECEIPTS,
  CONTENT,
  HANDOVERS,
  GOSSIP,
  SESSION_LOSS,
  THREADS,
  NOTICES,
  SENDER_ROWS,
  PLACES,
];
