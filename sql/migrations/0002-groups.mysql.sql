-- MLS groups, bindings and key packages. May be repeated when it was cut short; MySQL cannot say "add the column unless it is there".
SET @change = IF(
  (SELECT COUNT(*) FROM information_schema.columns
   WHERE table_schema = DATABASE() AND table_name = 'contents' AND column_name = 'generation') = 0,
  'ALTER TABLE contents ADD COLUMN generation INT UNSIGNED NOT NULL DEFAULT 0, ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0',
  'DO 0');
PREPARE change_contents FROM @change;
EXECUTE change_contents;
DEALLOCATE PREPARE change_contents;

-- The MLS group of a conversation, as its newest commit (`entry`) made it. `group_info` is null while only the log knows that commit.
CREATE TABLE IF NOT EXISTS conversation_groups (
  conversation_id INT UNSIGNED NOT NULL PRIMARY KEY,
  generation INT UNSIGNED NOT NULL,
  epoch BIGINT NOT NULL,
  entry BIGINT NOT NULL,
  group_info MEDIUMBLOB
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What each commit made, and the one before it, so that it can be taken back.
CREATE TABLE IF NOT EXISTS group_commits (
  entry BIGINT NOT NULL PRIMARY KEY,
  conversation_id INT UNSIGNED NOT NULL,
  generation INT UNSIGNED NOT NULL,
  epoch BIGINT NOT NULL,
  previous_entry BIGINT,
  KEY group_commits_conversation (conversation_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `hash` is the SHA-256 of the binding.
CREATE TABLE IF NOT EXISTS bindings (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  device_id INT UNSIGNED NOT NULL,
  hash BINARY(32) NOT NULL,
  binding MEDIUMBLOB NOT NULL,
  UNIQUE KEY bindings_device_id (device_id, hash),
  KEY bindings_hash (hash),
  CONSTRAINT bindings_device FOREIGN KEY (device_id) REFERENCES devices (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What nobody has taken yet. `last_resort`: 1 for the one of each device that stays.
CREATE TABLE IF NOT EXISTS key_packages (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  device_id INT UNSIGNED NOT NULL,
  last_resort TINYINT NOT NULL,
  package BLOB NOT NULL,
  KEY key_packages_device (device_id, last_resort, id),
  CONSTRAINT key_packages_device_id FOREIGN KEY (device_id) REFERENCES devices (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
