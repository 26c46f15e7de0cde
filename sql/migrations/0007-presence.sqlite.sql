-- What others are told of somebody's presence.
ALTER TABLE users ADD COLUMN presence INTEGER NOT NULL DEFAULT 0; -- 0 online, 1 away, 2 dnd, 3 invisible
ALTER TABLE users ADD COLUMN shows_last_seen INTEGER NOT NULL DEFAULT 1;
