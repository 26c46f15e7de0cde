-- What others are told of somebody's presence: 0 online, 1 away, 2 dnd, 3 invisible. May be repeated when it was cut short.
SET @change = IF(
  (SELECT COUNT(*) FROM information_schema.columns
   WHERE table_schema = DATABASE() AND table_name = 'users' AND column_name = 'shows_last_seen') = 0,
  'ALTER TABLE users ADD COLUMN presence TINYINT NOT NULL DEFAULT 0, ADD COLUMN shows_last_seen TINYINT NOT NULL DEFAULT 1',
  'DO 0');
PREPARE change_users FROM @change;
EXECUTE change_users;
DEALLOCATE PREPARE change_users;
