/** The revocation lists that a server has kept beside its log, each under its own hash: what the log's CRL entries stand for. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import type { CrlLeaf } from '../transcript/leaf.ts';
import { MAX_CRL_BYTES, parseCrl, type Crl } from '../x509/crl.ts';
import { readInside } from './capped-file.ts';
import type { Findings } from './finding.ts';

const NAME = /^[0-9a-f]{64}\.crl$/;
/** Lists are in memory as long as the log is read, and what is read of one takes six times as much again. */
const MAX_LISTS = 4096;
export const MAX_LIST_BYTES = 64 * 1024 * 1024;

/** By SHA-256 of the DER, in hexadecimal. */
export type Lists = ReadonlyMap<string, Crl>;

/** All that `crl/` of a log directory holds. What is not what its name says is a finding; that a list is missing is not, here. */
export function readLists(dir: string, findings: Findings): Lists {
  const lists = new Map<string, Crl>();
  let bytes = 0;
  for (const name of namesIn(join(dir, 'crl'))) {
    const where = `crl/${name}`;
    if (lists.size >= MAX_LISTS || bytes >= MAX_LIST_BYTES) {
      const message = `and those after it are not read: more than ${MAX_LISTS} lists, or ${MAX_LIST_BYTES} bytes`;
      findings.add('W_CRL_MISSING', where, message);
      break;
    }
    const file = readInside(join(dir, where), MAX_CRL_BYTES);
    if ('fault' in file) {
      findings.add('E_FORMAT', where, file.fault);
      continue;
    }
    bytes += file.bytes.length;
    const digest = hex(sha256(file.bytes));
    if (`${digest}.crl` !== name) findings.add('E_FORMAT', where, 'is not the list whose hash is its name');
    else {
      try {
        lists.set(digest, parseCrl(file.bytes));
      } catch (error) {
        findings.add('E_FORMAT', where, ChatError.from(error).message);
      }
    }
  }
  return lists;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => NAME.test(name))
      .sort();
  } catch {
    return []; // no list was ever archived
  }
}

/** A CRL entry against the list that it stands for. @param list undefined: it is not there */
export function checkCrlEntry(where: string, leaf: CrlLeaf, list: Crl | undefined, findings: Findings): void {
  if (list === undefined)
    findings.add('W_CRL_MISSING', where, `the list with hash ${hex(leaf.digest)}, which the log names, is not here`);
  else if (leaf.thisUpdate !== list.thisUpdate || leaf.nextUpdate !== list.nextUpdate)
    findings.add('E_LEAF', where, 'the entry of a revocation list has other times than the list');
}
