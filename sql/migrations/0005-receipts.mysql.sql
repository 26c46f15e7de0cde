-- That a message was delivered is said by devices, in signed statements, and not by the server. May be repeated when it was cut short.
DELETE FROM queue WHERE kind = 1;
UPDATE mailboxes SET items = (SELECT COUNT(*) FROM queue WHERE queue.device_id = mailboxes.device_id);

-- A session may end.
SET @change = IF(
  (SELECT COUNT(*) FROM information_schema.columns
   WHERE table_schema = DATABASE() AND table_name = 'sessions' AND column_name = 'is_closed') = 0,
  'ALTER TABLE sessions ADD COLUMN is_closed TINYINT NOT NULL DEFAULT 0',
  'DO 0');
PREPARE change_sessions FROM @change;
EXECUTE change_sessions;
DEALLOCATE PREPARE change_sessions;
