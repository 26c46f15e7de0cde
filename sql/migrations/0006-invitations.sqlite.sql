-- What lets those in whom a commit has added, for as long as their invitation may wait.
CREATE TABLE group_infos (
  entry INTEGER PRIMARY KEY, -- the commit
  conversation_id INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  epoch INTEGER NOT NULL,    -- that it made
  group_info BLOB NOT NULL
);
CREATE INDEX group_infos_conversation ON group_infos (conversation_id, entry);
