/** Rules of what others say of a log, witnesses and time-stamps, one broken at a time; what merely finds or refuses is in `sites.ts`. */
import type { Rules } from './mutant.ts';

export const OUTSIDE_RULES: Rules = {
  'verify/outside.ts': [
    ['if (quorum === 0) return null;', 'if (quorum > 0) return null;'],
    ['[quorum - 1] ?? null', '[0] ?? null'],
    ['return this.#isTrusted(where, stamp)\n      ?', 'return true\n      ?'],
    ['until: stamp.time + stamp.accuracyMs', 'until: stamp.time'],
    ['if (serverTime <= moment + MAX_SKEW_MS) return;', 'return;'],
    ['if (serverTime >= moment - MAX_SKEW_MS) return;', 'return;'],
    ['if (serverTime <= moment + MAX_SKEW_MS) return;', 'if (serverTime <= moment) return;'],
    ['if (stampRoots.length === 0) return false;', 'if (stampRoots.length === 0) return true;'],
    ['trustTimeStamp(stamp, stampRoots, crls, at);', '[];'],
    ['trustTimeStamp(stamp, stampRoots, crls, at);', 'trustTimeStamp(stamp, stampRoots, [], at);'],
    ['      checkLists(where, [stamp.signer, ...issuers], crls, at ?? stamp.time, this.#findings);\n', ''],
    ['at ?? stamp.time', 'Infinity'],
  ],
  'verify/bundle-attestation.ts': [
    ['!this.#hasMessages || ', ''],
    ['(this.#isTied && ', '('],
    ['this.#limits.length > 0)', 'true)'],
  ],
  'verify/outcome.ts': [
    ['attested.every((each) => each.isDated)', 'true'],
    ["findings.count('E_CONSISTENCY') + findings.count('E_FORK') === 0 && ", ''],
    [" && !audited.unmade.has('inclusion')", ''],
    ['between?.errors === 0 && PROOF', 'PROOF'],
    [' && PROOF.every((check) => !audited.unmade.has(check))', ''],
  ],
  'verify/attestations.ts': [
    ['size > index || size === 0', 'size === 0'],
    ['size > index || size === 0', 'size > index'],
    ['if (!equal(own, root))', 'if (false)'],
    ['isProven && isVouched(size) && isVouched(this.#size)', 'isProven'],
    ['isProven && !areTilesRight ? [] : this.#strange', 'this.#strange'],
    ['isProven && !areTilesRight ? [] : this.#strange', '!areTilesRight ? [] : this.#strange'],
    ['    this.#cosigned(where, stamp.checkpoint, size);\n', ''],
    ['this.#outside.checkNotBefore(where, leaf.serverTime, moment.from);', ''],
    ["code === 'SIG_FAIL' ? 'E_CKPT_SIG' : 'E_STAMP'", "'E_STAMP'"],
  ],
  'verify/log-directory.ts': [
    ['const beside = cosigned === null ? [] :', 'const beside = true ? [] :'],
    ['peekSize(cosigned) > size;', 'false;'],
    ['else if (own) wanted.push(own);', ''],
  ],
  'transcript/cosignature.ts': [
    ['if (seconds === 0n || seconds > BigInt(MAX_TIME_S)) throw wrong(witness);', ''],
    ['if (!verify(null, message, witness.publicKey, signature.subarray(TIME_BYTES))) throw wrong(witness);', ''],
    ['time < earlier.time', 'time > earlier.time'],
  ],
};
