-- Contacts: what each user's row says about another. `state`: 1 asked, 2 has to answer, 3 contact, 4 blocked.
CREATE TABLE contacts (
  user_id INTEGER NOT NULL REFERENCES users (id),
  other_id INTEGER NOT NULL REFERENCES users (id),
  state INTEGER NOT NULL CHECK (state IN (1, 2, 3, 4)),
  changed_at INTEGER NOT NULL,
  PRIMARY KEY (user_id, other_id)
) WITHOUT ROWID;
