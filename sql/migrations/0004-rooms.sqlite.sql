-- Rooms.
ALTER TABLE conversations RENAME TO old_conversations;
CREATE TABLE conversations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation BLOB NOT NULL UNIQUE,
  user_low INTEGER REFERENCES users (id), -- both are null for a room
  user_high INTEGER REFERENCES users (id),
  created_at INTEGER NOT NULL,
  UNIQUE (user_low, user_high),
  CHECK (user_low < user_high)
);
INSERT INTO conversations (id, conversation, user_low, user_high, created_at)
  SELECT id, conversation, user_low, user_high, created_at FROM old_conversations;
DROP TABLE old_conversations;
CREATE INDEX conversations_user_high ON conversations (user_high);

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
