-- What is too large for one frame. `entry`: the commit that refers to it, 0 while none does; `kind`: 1 from its parts, 2 from its GroupInfo.
-- `have`: bytes that are there, in pieces of 262,144 and a last one.
CREATE TABLE IF NOT EXISTS blobs (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  device_id INT UNSIGNED NOT NULL,
  hash BINARY(32) NOT NULL,
  size INT UNSIGNED NOT NULL,
  have INT UNSIGNED NOT NULL,
  put_at BIGINT NOT NULL,
  entry BIGINT NOT NULL,
  kind TINYINT NOT NULL,
  KEY blobs_hash (hash),
  KEY blobs_device (device_id, entry),
  KEY blobs_entry (entry, put_at),
  CONSTRAINT blobs_device_id FOREIGN KEY (device_id) REFERENCES devices (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS blob_pieces (
  blob_id BIGINT NOT NULL,
  n INT UNSIGNED NOT NULL,
  piece MEDIUMBLOB NOT NULL,
  PRIMARY KEY (blob_id, n)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
