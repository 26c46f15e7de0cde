-- What is too large for one frame.
CREATE TABLE blobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id INTEGER NOT NULL REFERENCES devices (id),
  hash BLOB NOT NULL,        -- SHA-256 of the whole
  size INTEGER NOT NULL,
  have INTEGER NOT NULL,     -- bytes that are there, in pieces of 262,144 and a last one
  put_at INTEGER NOT NULL,
  entry INTEGER NOT NULL,    -- the commit that refers to it; 0: none does
  kind INTEGER NOT NULL      -- 1 from its parts, 2 from its GroupInfo
);
CREATE INDEX blobs_hash ON blobs (hash);
CREATE INDEX blobs_device ON blobs (device_id, entry);
CREATE INDEX blobs_entry ON blobs (entry, put_at);
CREATE TABLE blob_pieces (
  blob_id INTEGER NOT NULL,
  n INTEGER NOT NULL,
  piece BLOB NOT NULL,
  PRIMARY KEY (blob_id, n)
);
