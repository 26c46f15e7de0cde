/** Largest size of each kind of file in a bundle. docs/TRANSCRIPT.md §f. */
import { MAX_SIGNATURE_BYTES } from '../base/signature.ts';
import { MAX_BUNDLE_MESSAGES, MESSAGE_FILES, type BundleName } from '../transcript/bundle.ts';
import { MAX_ENTRY_BYTES } from '../transcript/leaf.ts';
import { MAX_NOTE_BYTES } from '../transcript/note.ts';
import { MAX_CRL_BYTES } from '../x509/crl.ts';

const KB = 1024;
const LINE_BYTES = 64 + 2 + 36 + 1;
const FILES_OF_ALL_MESSAGES = MAX_BUNDLE_MESSAGES * (MESSAGE_FILES.length + 1);
/** @param file null: no file of a bundle has its name */
export function limitOf(file: BundleName | null): number {
  switch (file?.is) {
    case undefined:
      return 64 * KB; // reported as what it is, and read over
    case 'sums':
      return FILES_OF_ALL_MESSAGES * LINE_BYTES;
    case 'seal':
      return MAX_SIGNATURE_BYTES;
    case 'crl':
      return 2 * MAX_CRL_BYTES;
    case 'crl_entry':
    case 'crl_proof':
      return MAX_ENTRY_BYTES + KB;
    case 'chain':
      return 1024 * KB;
    case 'message':
      return file.file === 'opening' ? 4 * 1024 * KB : MAX_ENTRY_BYTES + KB;
    case 'checkpoint':
      return MAX_NOTE_BYTES;
    case 'statement':
    case 'statement_sig':
    case 'stamp':
      return 64 * KB;
    case 'takeovers':
      return 256 * KB;
    case 'consistency':
      return MAX_NOTE_BYTES + 8 * KB;
    case 'head':
    case 'certificate':
      return 128 * KB;
  }
}
