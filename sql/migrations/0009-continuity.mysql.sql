-- The device that has taken the place of this one, under another certificate. May be repeated when it was cut short.
SET @change = IF(
  (SELECT COUNT(*) FROM information_schema.columns
   WHERE table_schema = DATABASE() AND table_name = 'devices' AND column_name = 'continued_by') = 0,
  'ALTER TABLE devices ADD COLUMN continued_by INT UNSIGNED, ADD KEY devices_continued (continued_by)',
  'DO 0');
PREPARE change_devices FROM @change;
EXECUTE change_devices;
DEALLOCATE PREPARE change_devices;
