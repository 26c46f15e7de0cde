/** Every number that bounds what peers may do to each other. A change in the first block is a change of docs/PROTOCOL.md. */

// --- Limits that the protocol sets ---

/** Value of a record's length field: counter, ciphertext and tag. docs/PROTOCOL.md §1 */
export const MAX_RECORD_BYTES = 1_048_576;
/** The same until the peer has proven who it is (a complete hello with every share has 1.7 kB). docs/PROTOCOL.md §1 */
export const MAX_UNPROVEN_RECORD_BYTES = 65_536;
/** Counter (8) and tag (16): what sealing adds to a plaintext inside the length. docs/PROTOCOL.md §3 */
export const SEAL_OVERHEAD_BYTES = 24;
/** The longest plaintext of one record. */
export const MAX_PLAINTEXT_BYTES = MAX_RECORD_BYTES - SEAL_OVERHEAD_BYTES;
/** Records under one key, the rekey record included (NIST SP 800-38D §8 would allow 2^32 here). docs/PROTOCOL.md §3 */
export const MAX_RECORDS_PER_KEY = 2 ** 24;
/** Time from the first record under a key to the last. docs/PROTOCOL.md §3 */
export const MAX_KEY_AGE_MS = 3_600_000;
/** Suites in one client_hello. docs/PROTOCOL.md §2 */
export const MAX_OFFERED_SUITES = 8;
/** A prepared password in UTF-8. docs/PROTOCOL.md §4 */
export const MAX_PASSWORD_BYTES = 1024;
/** What both sides accept as Argon2id cost (floor: OWASP's minimum; ceiling: what a hostile server may ask). docs/PROTOCOL.md §4 */
export const MIN_ARGON2_MEMORY_KIB = 19_456;
export const MAX_ARGON2_MEMORY_KIB = 1_048_576;
export const MIN_ARGON2_PASSES = 2;
export const MAX_ARGON2_PASSES = 16;
/** The same for PBKDF2-HMAC-SHA-256. docs/PROTOCOL.md §4 */
export const MIN_PBKDF2_ROUNDS = 600_000;
export const MAX_PBKDF2_ROUNDS = 10_000_000;

// --- Limits that we chose; another implementation may choose others ---

/** From the accepted connection to the open channel. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Cost of a new password: about 0.25 s on one core. */
export const ARGON2_MEMORY_KIB = 65_536;
export const ARGON2_PASSES = 3;
