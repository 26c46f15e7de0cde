-- That a message was delivered is said by devices, in signed statements, and not by the server.
ALTER TABLE queue RENAME TO old_queue;
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
INSERT INTO queue (device_id, cursor_no, kind, entry, bytes, by_user_id, at_ms)
  SELECT device_id, cursor_no, kind, entry, bytes, by_user_id, at_ms FROM old_queue WHERE kind <> 1;
DROP TABLE old_queue;
UPDATE mailboxes SET items = (SELECT COUNT(*) FROM queue WHERE queue.device_id = mailboxes.device_id);

-- A session may end.
ALTER TABLE sessions RENAME TO old_sessions;
CREATE TABLE sessions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  fingerprint BLOB NOT NULL,
  session BLOB NOT NULL,
  is_closed INTEGER NOT NULL DEFAULT 0, -- 1: the device has said that nothing follows
  UNIQUE (session, fingerprint)
);
INSERT INTO sessions (id, fingerprint, session) SELECT id, fingerprint, session FROM old_sessions;
DROP TABLE old_sessions;
