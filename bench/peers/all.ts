/** Servers that people use in place of ours, as far as they are installed on this machine. */
import type { Authority } from '../../test/support/pki.ts';
import type { Target } from '../target.ts';
import { inspircd } from './irc.ts';
import { mosquitto } from './mqtt.ts';
import { jetStream, nats } from './nats.ts';
import { PeerTarget } from './peer-target.ts';
import { ejabberd, prosody } from './xmpp.ts';

const PEERS = [inspircd, nats, mosquitto, jetStream, ejabberd, prosody] as const;
/** User names that a server must know before it starts. */
const USERS = 2000;

/** @param folder of the certificates @param skip is told which are not there */
export async function startPeers(
  folder: string,
  authority: Authority,
  skip: (name: string, why: string) => void,
): Promise<Target[]> {
  const targets: Target[] = [];
  for (const peer of PEERS) {
    const program = peer.find();
    if (program === null) skip(peer.name, 'it is not installed');
    else targets.push(new PeerTarget(peer, await peer.start(program, folder, USERS), authority));
  }
  return targets;
}
