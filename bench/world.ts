/** Servers that are measured beside each other, over the same authority: chat-server, the bare relay, and rivals that are asked for. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startMariadb } from '../test/support/mariadb.ts';
import { authority } from '../test/support/pki.ts';
import { FloorTarget } from './floor-target.ts';
import { startPeers } from './peers/all.ts';
import {
  cpuSecondsOf,
  startChatServer,
  startFloor,
  temporaryFolder,
  writeCertificates,
  type ServerOptions,
} from './server-process.ts';
import { ChatTarget, type Target, type TargetOptions, type Worker } from './target.ts';

export interface World {
  readonly folder: string;
  readonly ours: ChatTarget;
  readonly floor: FloorTarget;
  /** ours first, then the relay, then rivals */
  readonly targets: readonly Target[];
  stop(): Promise<void>;
}
export interface WorldOptions extends ServerOptions {
  readonly clients: TargetOptions;
  /** Told which rivals are not there; without it, none is started. */
  readonly onMissingPeer?: (name: string, why: string) => void;
}

export async function openWorld(options: WorldOptions): Promise<World> {
  return open(options, null, async () => {});
}

/** Over a MariaDB of its own. Null: there is none on this machine. */
export async function openMysqlWorld(options: WorldOptions): Promise<World | null> {
  const database = await startMariadb();
  if (database === null) return null;
  const passwordFile = join(temporaryFolder(), 'password');
  database.password().use((bytes) => writeFileSync(passwordFile, bytes, { mode: 0o600 }));
  const settings = { ...options.settings, 'db.url': database.url, 'db.password_file': passwordFile };
  const worker: Worker = {
    get cpuSeconds() {
      return cpuSecondsOf(database.pid);
    },
  };
  return open({ ...options, settings }, worker, () => database.stop());
}

async function open(options: WorldOptions, database: Worker | null, close: () => Promise<void>): Promise<World> {
  const folder = temporaryFolder();
  const ca = authority('Benchmark CA');
  writeCertificates(folder, ca);
  const [chat, bare] = await Promise.all([startChatServer(folder, options), startFloor(folder)]);
  const ours = new ChatTarget(chat, ca, options.clients, database);
  const floor = new FloorTarget(bare, ca);
  const peers = options.onMissingPeer ? await startPeers(folder, ca, options.onMissingPeer) : [];
  return {
    folder,
    ours,
    floor,
    targets: [ours, floor, ...peers],
    stop: async () => {
      await Promise.all([chat, bare, ...peers.map(({ server }) => server)].map((server) => server.stop()));
      await close();
    },
  };
}
