/** Whether a server's certificate is for the host that was dialled (RFC 9525 §6). */
import { isIPv4, isIPv6 } from 'node:net';
import { equal } from '../base/bytes.ts';
import type { Certificate } from './certificate.ts';
import { refusal } from './refusal.ts';

/**
 * Exact match with a DNS or IP address SAN. A wildcard stands for the whole leftmost label of a name with at least three; the common name
 * is never looked at.
 * @param host DNS name in ASCII (A-labels), IPv4, or IPv6 with or without brackets
 */
export function matchesServerName({ subjectAltName = [] }: Certificate, host: string): boolean {
  const address = addressOf(host);
  const name = host.toLowerCase().replace(/\.$/, '');
  return subjectAltName.some((entry) =>
    address
      ? entry.type === 'ip' && equal(entry.value, address)
      : entry.type === 'dns' && isMatch(entry.value.toLowerCase(), name),
  );
}

/** @throws BAD_CERT/wrong_host unless matchesServerName() */
export function checkServerName(cert: Certificate, host: string): void {
  if (!matchesServerName(cert, host))
    throw refusal('wrong_host', `${cert.subject.text}: not issued for ${JSON.stringify(host.slice(0, 255))}`);
}

const LABELS = /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/;

function isMatch(pattern: string, name: string): boolean {
  if (!LABELS.test(name) || /(?:^|\.)\d+$/.test(name)) return false;
  if (!pattern.startsWith('*.')) return pattern === name;
  const parent = pattern.slice(1);
  return parent.lastIndexOf('.') > 0 && name.slice(name.indexOf('.')) === parent;
}

/** 4 or 16 octets; undefined for anything but an address in its usual form (`010.0.0.1` is octal to some programs, and so nothing here). */
function addressOf(host: string): Uint8Array | undefined {
  if (isIPv4(host)) return Uint8Array.from(host.split('.').map(Number));
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
  if (!isIPv6(bare) || bare.includes('%')) return undefined;
  const [head = '', tail] = new URL(`http://[${bare}]/`).hostname.slice(1, -1).split('::');
  const groups = (text: string | undefined) => (text ? text.split(':') : []).map((group) => parseInt(group, 16));
  const before = groups(head);
  const after = groups(tail);
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
