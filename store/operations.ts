/** The methods of the contract, as operations, by name; and which of them only read. */
import * as accounts from './accounts.ts';
import { acknowledge } from './acknowledgement.ts';
import * as blobs from './blobs.ts';
import * as contacts from './contacts.ts';
import * as conversations from './conversations.ts';
import * as devices from './devices.ts';
import { expire, nextExpiry } from './expiry.ts';
import * as groups from './groups.ts';
import * as keys from './keys.ts';
import * as log from './log.ts';
import * as failures from './login-failures.ts';
import type { Operation } from './operation.ts';
import { places } from './places.ts';
import * as queue from './queue.ts';
import { rewind } from './rewind.ts';
import * as rooms from './rooms.ts';
import type { Store } from './store.ts';
import { commitRecords } from './told.ts';
import * as window from './window.ts';

/** What a backend runs in a transaction; `ping` and `close` are its own. */
export type Method = Exclude<keyof Store, 'kind' | 'ping' | 'relief' | 'close'>;
export type Arguments<M extends Method> = Parameters<Store[M]>;
export type Result<M extends Method> = Awaited<ReturnType<Store[M]>>;

export const OPERATIONS: { readonly [M in Method]: (...args: Arguments<M>) => Operation<Result<M>> } = {
  createUser: accounts.createUser,
  findUser: accounts.findUser,
  userWithDevice: accounts.userWithDevice,
  listUsers: accounts.listUsers,
  setEmail: accounts.setEmail,
  setStatus: accounts.setStatus,
  setPassword: accounts.setPassword,
  setLastSeen: accounts.setLastSeen,
  setPresence: accounts.setPresence,
  addDevice: devices.addDevice,
  devicesOf: devices.devicesOf,
  deviceByFingerprint: devices.deviceByFingerprint,
  revokeDevices: devices.revokeDevices,
  countLoginFailure: failures.countLoginFailure,
  forgetLoginFailures: failures.forgetLoginFailures,
  lockedUntil: failures.lockedUntil,
  clearLoginFailures: failures.clearLoginFailures,
  openDirect: conversations.openDirect,
  openSelf: conversations.openSelf,
  conversation: conversations.conversation,
  createRoom: rooms.createRoom,
  room: rooms.room,
  rooms: rooms.rooms,
  changeRoom: rooms.changeRoom,
  group: groups.group,
  groupInfo: groups.groupInfo,
  putBinding: keys.putBinding,
  binding: keys.binding,
  putBlobPiece: blobs.putBlobPiece,
  blobPiece: blobs.blobPiece,
  blobSizes: blobs.blobSizes,
  keptInfoBytes: blobs.keptInfoBytes,
  forgetBlobs: blobs.forgetBlobs,
  putKeyPackages: keys.putKeyPackages,
  takeKeyPackages: keys.takeKeyPackages,
  changeContact: contacts.changeContact,
  contactsOf: contacts.contactsOf,
  standing: contacts.standing,
  directory: contacts.directory,
  logSize: log.logSize,
  timesAfter: log.timesAfter,
  commitWindow: window.commitWindow,
  commitRecords,
  rewind,
  complete: window.complete,
  incomplete: log.incomplete,
  places,
  findBatch: log.findBatch,
  batchAt: log.batchAt,
  sessionLineage: log.sessionLineage,
  sessionEnds: log.sessionEnds,
  conversationLineage: log.conversationLineage,
  isCertificateLogged: log.isCertificateLogged,
  backlog: queue.backlog,
  queueUsages: queue.queueUsages,
  queueShares: queue.queueShares,
  acknowledge: acknowledge,
  expire: expire,
  nextExpiry: nextExpiry,
};

const READS: ReadonlySet<Method> = new Set<Method>([
  'findUser',
  'userWithDevice',
  'listUsers',
  'devicesOf',
  'deviceByFingerprint',
  'lockedUntil',
  'conversation',
  'room',
  'rooms',
  'group',
  'groupInfo',
  'binding',
  'blobPiece',
  'blobSizes',
  'keptInfoBytes',
  'contactsOf',
  'standing',
  'directory',
  'logSize',
  'timesAfter',
  'incomplete',
  'places',
  'findBatch',
  'batchAt',
  'sessionLineage',
  'sessionEnds',
  'conversationLineage',
  'isCertificateLogged',
  'backlog',
  'queueUsages',
  'queueShares',
  'nextExpiry',
]);
/** An acknowledgement that a power cut takes back is made again, for what it was about is delivered again (docs/decisions/0012). */
export const mayBeLost = (method: Method): boolean => method === 'acknowledge';
export const isRead = (method: Method): boolean => READS.has(method);

export type Call = <M extends Method>(method: M, args: Arguments<M>) => Promise<Result<M>>;

/** The contract's methods over one function that runs any of them. */
export function methods(call: Call): Pick<Store, Method> {
  const names = Object.keys(OPERATIONS) as Method[];
  return Object.fromEntries(
    names.map((name) => [name, (...args: Arguments<typeof name>) => call(name, args)]),
  ) as unknown as Pick<Store, Method>;
}
