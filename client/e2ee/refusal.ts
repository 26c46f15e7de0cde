/** What is wrong with a message of a group, or with a group, has one code; the sub says which rule it breaks. */
import { ChatError, type ErrorDetail } from '../../base/errors.ts';

/** @throws DECRYPT_FAIL/`sub`: everything that is wrong with a message which is a message */
export function refuse(sub: string, why: string, detail: ErrorDetail & ErrorOptions = {}): never {
  throw new ChatError('DECRYPT_FAIL', why, { ...detail, sub });
}
