/**
 * Every frame that travels inside the channel: its fields, its limits, and who may send it. docs/PROTOCOL.md §5 describes the same
 * table in words. A request carries `id` and gets exactly one reply with that id, or one `error` with that id; a frame without `id`
 * is a notice and gets none. Unknown fields and values out of range are errors that name the field; frame-codec.ts decodes and encodes.
 */
import {
  bool,
  bytes,
  list,
  literal,
  oneOf,
  optional,
  record,
  text,
  uint,
  bad,
  type Decode,
  type Decoded,
} from '../base/decode.ts';
import { CODES, type Code } from '../base/errors.ts';
import { MAX_SIGNATURE_BYTES } from '../base/signature.ts';
import { MAX_BINDING_BYTES } from './device-binding.ts';

/** A batch signs 1..1024 messages. */
export const MAX_BATCH_MESSAGES = 1024;
/**
 * Of a batch of several messages: each counts as often as its conversation has other devices. What belongs together is written together, and
 * others wait for it.
 */
export const MAX_BATCH_DELIVERIES = 16_384;
/** All parts of one message together; a record holds it with room for its evidence. */
export const MAX_BODY_BYTES = 1_015_808;
/** An encoded `msg_send`: what is left of the 1 MiB record is room for the receipt that a `msg_deliver` adds. */
export const MAX_SEND_BYTES = 1_040_384;
export const MAX_PARTS = 1024;
/** Devices that are asked to let somebody into a public room, one after the other. */
export const MAX_TURNS = 3;
/** Deliveries that one notice may acknowledge. */
export const MAX_RECEIVED = 1024;
/** One key package: 100 of them fit the record that answers `keypackages_take`. */
export const MAX_KEY_PACKAGE_BYTES = 8192;
/** Of what travels beside a commit: the ratchet tree of a thousand devices has 2.85 MB at most, and a commit with new keys for all of them 1.3 MB. */
export const MAX_BLOB_BYTES = 8 * 1024 * 1024;
/** All pieces of a blob but the last have so many bytes. */
export const BLOB_PIECE_BYTES = 262_144;

const requestId = uint(2 ** 32 - 1, 1);
const hash = bytes(32);
const username = text(64, 1);
const time = uint();
const note = text(4096, 1);
const algorithm = uint(3, 1);
const signature = bytes(1, MAX_SIGNATURE_BYTES);

const contactState = oneOf('none', 'asked', 'asking', 'contact', 'blocked');
const account = text(254, 1);
/** One thing that a user may do about another. */
const contactAction = <const T extends string>(type: T) => record({ type: literal(type), id: requestId, account });
const person = record({ username, email: text(254, 3), display_name: optional(text(128, 1)) });

const parts = list(bytes(0, MAX_BODY_BYTES), MAX_PARTS, 1);
const member = record({ username, devices: list(hash, 64) });
const generation = uint(2 ** 32 - 1, 1);
/** The state of an MLS group that a message was made in: for a commit, the one that it ends. */
const groupState = record({ generation, epoch: uint() });
const groupInfo = bytes(1, MAX_BODY_BYTES);
const room = text(64, 2);
const visibility = oneOf('public', 'private');
const role = oneOf('owner', 'admin', 'member');
const topic = text(512, 1);
const keyPackage = bytes(1, MAX_KEY_PACKAGE_BYTES);
const blobSize = uint(MAX_BLOB_BYTES, 1);
const blobPiece = bytes(1, BLOB_PIECE_BYTES);
/** As long as docs/TRANSCRIPT.md §c allows. */
const keyStatement = text(4096, 1);
/** How the log's key came to take the place of those before it: a statement of each, signed by the key that it replaces. Oldest first. */
const takeover = record({ statement: keyStatement, signature: bytes(64) });
const logIdentity = record({
  statement: keyStatement,
  algorithm,
  signature,
  takeovers: optional(list(takeover, 64, 1)),
});

const presenceState = oneOf('online', 'away', 'dnd', 'invisible');

/** What a client may send. */
export const requests = {
  register: record({
    type: literal('register'),
    id: requestId,
    username,
    email: text(254, 3),
    display_name: optional(text(128, 1)),
    salt: bytes(16),
    kdf: text(64, 1),
    stored_key: bytes(32),
    server_key: bytes(32),
  }),
  login: record({ type: literal('login'), id: requestId, account: text(254, 1), nonce: bytes(24) }),
  login_proof: record({
    type: literal('login_proof'),
    id: requestId,
    proof: bytes(32),
    checkpoint: optional(note),
    continues: optional(record({ binding: bytes(1, MAX_BINDING_BYTES), signature: bytes(64) })),
  }),
  password_set: record({
    type: literal('password_set'),
    id: requestId,
    salt: bytes(16),
    kdf: text(64, 1),
    stored_key: bytes(32),
    server_key: bytes(32),
  }),
  resume: record({ type: literal('resume'), id: requestId, token: text(2048, 1), checkpoint: optional(note) }),
  conversation_open: record({ type: literal('conversation_open'), id: requestId, peer: text(254, 1) }),
  conversation_get: record({ type: literal('conversation_get'), id: requestId, conversation: hash }),
  certificate_get: record({ type: literal('certificate_get'), id: requestId, fingerprint: hash }),
  presence_watch: record({ type: literal('presence_watch'), id: requestId, username }),
  presence_set: record({
    type: literal('presence_set'),
    id: requestId,
    state: optional(presenceState),
    last_seen: optional(bool),
  }),
  typing: record({ type: literal('typing'), conversation: hash, on: bool }),
  device_list: record({ type: literal('device_list'), id: requestId }),
  device_revoke: record({ type: literal('device_revoke'), id: requestId, fingerprint: hash }),
  contact_add: contactAction('contact_add'),
  contact_accept: contactAction('contact_accept'),
  contact_decline: contactAction('contact_decline'),
  contact_remove: contactAction('contact_remove'),
  contact_block: contactAction('contact_block'),
  contact_unblock: contactAction('contact_unblock'),
  contact_list: record({ type: literal('contact_list'), id: requestId, after: text(64) }),
  directory: record({ type: literal('directory'), id: requestId, after: text(64) }),
  msg_send: record({
    type: literal('msg_send'),
    id: requestId,
    algorithm,
    signature,
    batch: bytes(172),
    messages: list(
      record({
        statement: bytes(248),
        parts,
        group: optional(groupState),
        group_info: optional(groupInfo),
        parts_blob: optional(hash),
        info_blob: optional(hash),
        to: optional(username),
        expires_at: optional(time),
      }),
      MAX_BATCH_MESSAGES,
      1,
    ),
  }),
  msg_received: record({ type: literal('msg_received'), cursors: list(uint(), MAX_RECEIVED, 1) }),
  msg_skipped: record({ type: literal('msg_skipped'), cursors: list(uint(), MAX_RECEIVED, 1) }),
  sync: record({ type: literal('sync'), id: requestId }),
  binding_put: record({ type: literal('binding_put'), id: requestId, binding: bytes(1, MAX_BINDING_BYTES) }),
  binding_get: record({ type: literal('binding_get'), id: requestId, hash }),
  blob_put: record({
    type: literal('blob_put'),
    id: requestId,
    hash,
    size: blobSize,
    offset: uint(MAX_BLOB_BYTES),
    piece: blobPiece,
  }),
  blob_get: record({ type: literal('blob_get'), id: requestId, hash, offset: uint(MAX_BLOB_BYTES) }),
  keypackages_put: record({
    type: literal('keypackages_put'),
    id: requestId,
    packages: list(keyPackage, 64),
    last_resort: bool,
    fresh: optional(bool),
  }),
  keypackages_take: record({
    type: literal('keypackages_take'),
    id: requestId,
    conversation: hash,
    devices: list(hash, 100, 1),
  }),
  group_get: record({ type: literal('group_get'), id: requestId, conversation: hash, group: optional(groupState) }),
  room_create: record({ type: literal('room_create'), id: requestId, room, visibility, topic: optional(topic) }),
  room_list: record({ type: literal('room_list'), id: requestId, after: text(64) }),
  room_get: record({ type: literal('room_get'), id: requestId, room }),
  room_join: record({ type: literal('room_join'), id: requestId, room }),
  room_leave: record({ type: literal('room_leave'), id: requestId, room }),
  room_invite: record({ type: literal('room_invite'), id: requestId, room, username }),
  room_kick: record({ type: literal('room_kick'), id: requestId, room, username }),
  room_ban: record({ type: literal('room_ban'), id: requestId, room, username }),
  room_unban: record({ type: literal('room_unban'), id: requestId, room, username }),
  room_role: record({ type: literal('room_role'), id: requestId, room, username, role }),
  room_topic: record({ type: literal('room_topic'), id: requestId, room, topic: optional(topic) }),
  log_consistency: record({ type: literal('log_consistency'), id: requestId, from: uint(), to: uint() }),
  log_checkpoint: record({ type: literal('log_checkpoint'), id: requestId }),
  log_attested: record({ type: literal('log_attested'), id: requestId, size: uint() }),
  crl_get: record({
    type: literal('crl_get'),
    id: requestId,
    issuer: hash,
    number: uint(),
    offset: uint(),
    tree: uint(),
  }),
  ping: record({ type: literal('ping'), id: requestId }),
  bye: record({ type: literal('bye') }),
};

/** One message of a delivered batch: whole, or only its two leaf hashes when it belongs to a conversation of others. */
const delivered = record({
  cursor: uint(),
  seq: uint(),
  statement: bytes(248),
  parts,
  cut: optional(record({ at: list(uint(MAX_PARTS - 1), MAX_PARTS, 1), hashes: list(hash, 64) })),
  generation: optional(generation),
  epoch: optional(uint()),
});
const hidden = record({ statement_hash: hash, leaf_hash: hash });
export type Delivered = Decoded<typeof delivered>;
export type Hidden = Decoded<typeof hidden>;
const deliveryItem: Decode<Delivered | Hidden> = (v, f) =>
  v instanceof Map && v.has('leaf_hash') ? hidden(v, f) : delivered(v, f);

const errorCode: Decode<Code> = (v, f) =>
  typeof v === 'string' && Object.hasOwn(CODES, v) ? (v as Code) : bad(f, 'a known error code');

/** What a server may send. */
export const replies = {
  ok: record({ type: literal('ok'), id: requestId }),
  error: record({
    type: literal('error'),
    id: optional(requestId),
    code: errorCode,
    sub: optional(text(64, 1)),
    field: optional(text(128, 1)),
    retry_after_ms: optional(uint()),
  }),
  login_challenge: record({
    type: literal('login_challenge'),
    id: requestId,
    nonce: bytes(24),
    salt: bytes(16),
    kdf: text(64, 1),
  }),
  login_ok: record({
    type: literal('login_ok'),
    id: requestId,
    username,
    email: text(254, 3),
    server_signature: optional(bytes(32)),
    token: text(2048, 1),
    token_expires: time,
    server_time: time,
    log: logIdentity,
  }),
  password_ok: record({ type: literal('password_ok'), id: requestId, token: text(2048, 1), token_expires: time }),
  conversation: record({
    type: literal('conversation'),
    id: requestId,
    conversation: hash,
    epoch: uint(),
    members: list(member, 1024, 1),
  }),
  certificate: record({ type: literal('certificate'), id: requestId, chain: list(bytes(1, 65535), 10, 1) }),
  presence: record({
    type: literal('presence'),
    id: optional(requestId),
    username,
    online: bool,
    state: optional(oneOf('away', 'dnd')),
    last_seen: optional(time),
  }),
  presence_choice: record({ type: literal('presence_choice'), id: requestId, state: presenceState, last_seen: bool }),
  typing: record({ type: literal('typing'), conversation: hash, username, on: bool }),
  devices: record({
    type: literal('devices'),
    id: requestId,
    devices: list(
      record({ fingerprint: hash, first_seen: time, not_after: time, revoked_at: optional(time), online: bool }),
      200,
      1,
    ),
  }),
  contact: record({ type: literal('contact'), id: requestId, username, state: contactState }),
  contacts: record({
    type: literal('contacts'),
    id: requestId,
    people: list(record({ username, email: text(254, 3), state: contactState, at: time }), 200),
    has_more: bool,
  }),
  contact_changed: record({ type: literal('contact_changed'), username, state: contactState, at: time }),
  directory: record({ type: literal('directory'), id: requestId, people: list(person, 200), has_more: bool }),
  checkpoint: record({ type: literal('checkpoint'), note }),
  msg_ack: record({
    type: literal('msg_ack'),
    id: requestId,
    ack: bytes(37, 8192),
    messages: list(record({ seq: uint(), queued: bool }), MAX_BATCH_MESSAGES, 1),
  }),
  msg_deliver: record({
    type: literal('msg_deliver'),
    algorithm,
    signature,
    batch: bytes(172),
    ack: bytes(37, 8192),
    items: list(deliveryItem, MAX_BATCH_MESSAGES, 1),
  }),
  msg_expired: record({
    type: literal('msg_expired'),
    cursor: uint(),
    conversation: hash,
    message: hash,
    by: username,
    at: time,
  }),
  synced: record({ type: literal('synced'), id: requestId }),
  binding: record({ type: literal('binding'), id: requestId, binding: bytes(1, MAX_BINDING_BYTES) }),
  blob_have: record({ type: literal('blob_have'), id: requestId, bytes: uint(MAX_BLOB_BYTES) }),
  blob: record({ type: literal('blob'), id: requestId, size: blobSize, piece: blobPiece }),
  keypackages: record({ type: literal('keypackages'), id: requestId, count: uint() }),
  keypackages_taken: record({
    type: literal('keypackages_taken'),
    id: requestId,
    packages: list(record({ device: hash, package: keyPackage }), 100),
  }),
  group: record({
    type: literal('group'),
    id: requestId,
    conversation: hash,
    generation: uint(2 ** 32 - 1),
    epoch: uint(),
    group_info: optional(groupInfo),
  }),
  room: record({
    type: literal('room'),
    id: requestId,
    room,
    conversation: hash,
    visibility,
    topic: optional(topic),
    members: list(record({ username, role }), 1024),
    banned: list(username, 1024),
    asked: optional(bool),
  }),
  rooms: record({
    type: literal('rooms'),
    id: requestId,
    rooms: list(record({ room, visibility, members: uint(), topic: optional(topic), role: optional(role) }), 100),
    has_more: bool,
  }),
  room_changed: record({
    type: literal('room_changed'),
    room,
    conversation: hash,
    change: oneOf('joined', 'left', 'invited', 'kicked', 'banned', 'unbanned', 'role', 'topic'),
    by: username,
    username: optional(username),
    role: optional(role),
    topic: optional(topic),
    turn: optional(uint(MAX_TURNS - 1)),
  }),
  log_consistency: record({ type: literal('log_consistency'), id: requestId, hashes: list(hash, 128) }),
  log_checkpoint: record({ type: literal('log_checkpoint'), id: requestId, note }),
  log_attested: record({
    type: literal('log_attested'),
    id: requestId,
    note: optional(text(65_535, 1)),
    token: optional(bytes(1, 32_768)),
  }),
  crl: record({
    type: literal('crl'),
    id: requestId,
    count: uint(),
    index: uint(),
    server_time: time,
    size: uint(),
    piece: bytes(0, 262_144),
    path: list(hash, 64),
  }),
  pong: record({ type: literal('pong'), id: requestId, server_time: time }),
  bye: record({ type: literal('bye'), code: optional(errorCode) }),
};

export type RequestType = keyof typeof requests;
export type ReplyType = keyof typeof replies;
export type Request<T extends RequestType = RequestType> = { [K in T]: Decoded<(typeof requests)[K]> }[T];
export type Reply<T extends ReplyType = ReplyType> = { [K in T]: Decoded<(typeof replies)[K]> }[T];
