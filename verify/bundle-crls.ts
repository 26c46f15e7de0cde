/** The revocation lists of a bundle, and the entries by which a log shows that its server knew them, and since when. */
import { equal } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { decodeLeaf, type CrlLeaf } from '../transcript/leaf.ts';
import { leafHash } from '../transcript/merkle.ts';
import { rootFromInclusion } from '../transcript/proof.ts';
import { decodeTlogProof, type TlogProof } from '../transcript/tlog-proof.ts';
import { parseCrls, type Crl } from '../x509/crl.ts';
import type { BundleLog } from './bundle-log.ts';
import { originIn } from './message-files.ts';
import { checkCrlEntry, MAX_LIST_BYTES } from './crl-files.ts';
import type { Findings } from './finding.ts';

/** `crl/<nn>.…` */
interface ListFiles {
  list: Crl | null;
  leaf: { readonly bytes: Buffer; readonly leaf: CrlLeaf } | null;
  proof: TlogProof | null;
}
export type ListFile = 'entry' | 'pem' | 'tlog-proof';

export class BundleCrls {
  readonly #files = new Map<number, ListFiles>();
  readonly #names = new Map<Crl, string>();
  readonly #findings: Findings;
  #bytes = 0;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /** Lists and the files that they are in. */
  get names(): ReadonlyMap<Crl, string> {
    return this.#names;
  }

  /** @throws BAD_FRAME, BAD_CERT */
  take(number: number, file: ListFile, name: string, bytes: Buffer): void {
    const files = this.#files.get(number) ?? { list: null, leaf: null, proof: null };
    this.#files.set(number, files);
    if (file === 'pem') {
      if (this.#bytes >= MAX_LIST_BYTES)
        return this.#findings.add('W_CRL_MISSING', name, `is not read: more than ${MAX_LIST_BYTES} bytes before it`);
      const lists = parseCrls(bytes);
      for (const list of lists) {
        this.#names.set(list, name);
        this.#bytes += list.der.length;
      }
      files.list = lists[0]!;
      if (lists.length > 1) throw new ChatError('BAD_FRAME', 'holds more than one list');
    } else if (file === 'entry') {
      const leaf = decodeLeaf(bytes);
      if (leaf.type !== 'crl') throw new ChatError('BAD_FRAME', 'is not the entry of a revocation list');
      files.leaf = { bytes: Buffer.from(bytes), leaf };
    } else files.proof = decodeTlogProof(Buffer.from(bytes));
  }

  /** When the logs are known. A list without entry and proof is one that the exporter has from elsewhere, and counts like any. */
  judge(logOf: (origin: string) => BundleLog | undefined): void {
    const findings = this.#findings;
    for (const [number, { list, leaf, proof }] of this.#files) {
      const where = `crl/${String(number).padStart(2, '0')}`;
      if (leaf === null && proof === null) continue;
      if (leaf === null || proof === null) {
        findings.add('E_FORMAT', `${where}.${leaf === null ? 'entry' : 'tlog-proof'}`, 'is missing');
        continue;
      }
      this.#checkPlace(`${where}.tlog-proof`, leaf, proof, logOf, findings);
      const isOther = list !== null && !equal(sha256(list.der), leaf.leaf.digest);
      if (isOther) findings.add('E_LEAF', `${where}.entry`, `is of another list than ${where}.pem`);
      else checkCrlEntry(`${where}.entry`, leaf.leaf, list ?? undefined, findings);
    }
  }

  #checkPlace(
    where: string,
    { bytes, leaf }: NonNullable<ListFiles['leaf']>,
    { index, path, checkpoint: note }: TlogProof,
    logOf: (origin: string) => BundleLog | undefined,
    findings: Findings,
  ): void {
    const log = logOf(originIn(note));
    if (log === undefined) return findings.add('E_KEYBIND', where, 'of a log whose key the bundle does not have');
    log.checkCoverage(where, leaf.serverTime);
    const checkpoint = log.checkpointOf(where, log.read(note));
    if (checkpoint === null) return;
    const root = rootFromInclusion(index, checkpoint.size, leafHash(bytes), path);
    if (root === null || !equal(root, checkpoint.root))
      findings.add('E_INCLUSION', where, 'the entry is not in the log at this index');
  }
}
