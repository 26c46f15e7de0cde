/** PEM (RFC 7468): strict about the blocks, silent about the text between them, which many tools write for people. */
import { base64, fromBase64 } from '../base/bytes.ts';
import { malformed } from './der.ts';

/** Our own limits; a CA bundle of a whole operating system has about 250 kB and 150 blocks. */
export const MAX_PEM_CHARS = 32 * 1024 * 1024;
const MAX_BLOCKS = 500;
const DIGITS = /^[A-Za-z0-9+/=]*$/;

/** DER of every block, in order. @throws BAD_CERT/malformed for no block, another label, or base64 in a second spelling */
export function decodePem(text: string, label: 'CERTIFICATE' | 'X509 CRL'): Buffer[] {
  if (text.length > MAX_PEM_CHARS) malformed('PEM', `more than ${MAX_PEM_CHARS} characters`);
  const blocks: Buffer[] = [];
  const body = Buffer.alloc(text.length); // one by one: a file may be all line feeds, and a text for each would fill the memory
  let length: number | null = null; // of the open block so far
  for (let at = 0, end = 0; at < text.length; at = end + 1) {
    end = text.indexOf('\n', at);
    if (end < 0) end = text.length;
    const line = text.slice(at, end).trimEnd();
    if (length === null) {
      if (line.startsWith('-----')) {
        if (line !== `-----BEGIN ${label}-----`) malformed('PEM', `want only blocks of ${label}`);
        if (blocks.length === MAX_BLOCKS) malformed('PEM', `more than ${MAX_BLOCKS} blocks`);
        length = 0;
      }
    } else if (line.startsWith('-----')) {
      if (line !== `-----END ${label}-----`) malformed('PEM', 'block without its end');
      blocks.push(fromBase64(body.toString('latin1', 0, length)) ?? malformed('PEM', 'not canonical base64'));
      length = null;
    } else if (DIGITS.test(line)) length += body.write(line, length, 'latin1');
    else malformed('PEM', 'not canonical base64');
  }
  if (length !== null) malformed('PEM', 'block without its end');
  if (blocks.length === 0) malformed('PEM', `no ${label} in it`);
  return blocks;
}

/** Ends with a newline, so that blocks can be written one after another. */
export function encodePem(der: Uint8Array, label: 'CERTIFICATE' | 'X509 CRL'): string {
  const lines = base64(der).match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n');
}
