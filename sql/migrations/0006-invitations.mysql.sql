-- What lets those in whom a commit has added, for as long as their invitation may wait.
CREATE TABLE IF NOT EXISTS group_infos (
  entry BIGINT NOT NULL PRIMARY KEY,
  conversation_id INT UNSIGNED NOT NULL,
  generation INT UNSIGNED NOT NULL,
  epoch BIGINT NOT NULL,
  group_info MEDIUMBLOB NOT NULL,
  KEY group_infos_conversation (conversation_id, entry)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
