-- Contacts: what each user's row says about another. `state`: 1 asked, 2 has to answer, 3 contact, 4 blocked.
CREATE TABLE IF NOT EXISTS contacts (
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
