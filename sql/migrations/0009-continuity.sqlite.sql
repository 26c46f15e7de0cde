-- The device that has taken the place of this one, under another certificate.
ALTER TABLE devices ADD COLUMN continued_by INTEGER;
CREATE INDEX devices_continued ON devices (continued_by) WHERE continued_by IS NOT NULL;
