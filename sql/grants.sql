-- Least privilege for the database `securechat`, for MySQL 8.0 and MariaDB 10.11. Load it after sql/schema.sql:
--
--   mysql < sql/grants.sql
--
-- It makes no user and sets no password. Make both users first, with passwords of your own that nobody else knows and the hosts they
-- come from ('localhost' below; a server with skip_name_resolve, as in many containers, wants '127.0.0.1' here and below instead), and
-- require TLS of any that is not on this machine:
--
--   CREATE USER 'chatuser'@'localhost' IDENTIFIED BY …;
--   CREATE USER 'chatmigrate'@'localhost' IDENTIFIED BY …;

-- The daemon: the rows that it works with. It can neither change a table nor empty the list of accounts.
GRANT SELECT ON securechat.schema_migrations TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE ON securechat.users TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE ON securechat.devices TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.login_failures TO 'chatuser'@'localhost';
GRANT SELECT, INSERT ON securechat.conversations TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE ON securechat.sequences TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE ON securechat.logs TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.log_certificates TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE ON securechat.sessions TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, DELETE ON securechat.batches TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.messages TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, DELETE ON securechat.contents TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.expiries TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE ON securechat.mailboxes TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, DELETE ON securechat.queue TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.conversation_groups TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.group_commits TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.group_infos TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.blobs TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, DELETE ON securechat.blob_pieces TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, DELETE ON securechat.bindings TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, DELETE ON securechat.key_packages TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.rooms TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.room_members TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, DELETE ON securechat.room_bans TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE ON securechat.lineage_counters TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.lineage_heads TO 'chatuser'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE ON securechat.contacts TO 'chatuser'@'localhost';

-- `chat-server db init` and `db migrate`, and nothing else: give its password to the program for that moment only.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, REFERENCES ON securechat.* TO 'chatmigrate'@'localhost';
