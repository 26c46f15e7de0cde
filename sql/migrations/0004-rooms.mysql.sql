-- Rooms. May be repeated when it was cut short.
ALTER TABLE conversations MODIFY user_low INT UNSIGNED NULL, MODIFY user_high INT UNSIGNED NULL;

-- Conversations with a name. `epoch` grows with every change of the members. `topic` is written by people.
CREATE TABLE IF NOT EXISTS rooms (
  conversation_id INT UNSIGNED NOT NULL PRIMARY KEY,
  name VARCHAR(64) NOT NULL,
  is_public TINYINT NOT NULL,
  topic VARCHAR(512),
  epoch BIGINT NOT NULL,
  UNIQUE KEY rooms_name (name),
  CONSTRAINT rooms_conversation FOREIGN KEY (conversation_id) REFERENCES conversations (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- `role`: 1 member, 2 admin, 3 owner.
CREATE TABLE IF NOT EXISTS room_members (
  conversation_id INT UNSIGNED NOT NULL,
  user_id INT UNSIGNED NOT NULL,
  role TINYINT NOT NULL,
  PRIMARY KEY (conversation_id, user_id),
  KEY room_members_user (user_id, role),
  CONSTRAINT room_members_user_id FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS room_bans (
  conversation_id INT UNSIGNED NOT NULL,
  user_id INT UNSIGNED NOT NULL,
  PRIMARY KEY (conversation_id, user_id),
  KEY room_bans_user (user_id),
  CONSTRAINT room_bans_user_id FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
