/** What one logged-in connection gives to those who work with it. */
import type { ConversationId } from '../base/bytes.ts';
import type { ChatError } from '../base/errors.ts';
import type { Acknowledgements } from './acknowledgements.ts';
import type { LogView } from './trust.ts';
import type { Requester } from './requester.ts';
import type { Rosters } from './rosters.ts';

export interface Session {
  readonly requester: Requester;
  readonly log: LogView;
  readonly rosters: Rosters;
  /** of what is on the disk here, and nothing else */
  readonly acknowledgements: Acknowledgements;
  /** The server's clock, Unix ms: what the log will say. */
  serverNow(): number;
  /** Resolves when all that waited at the server for this device has come in and was dealt with. */
  caughtUp(): Promise<void>;
  /**
   * A conversation's group has to be made, entered or changed, though nothing waits to be sent.
   * @param isNewReason else once on each connection
   */
  wantGroup(conversation: ConversationId, isNewReason?: boolean): void;
  /** Proves, in the background, that new checkpoints continue the old ones. */
  prove(): void;
  /** Something false that is not to be used, and not a reason to go; shown once for each subject. */
  alarm(error: ChatError, subject: string, detail: Uint8Array): void;
  /** Something that must not go on: a lie of the server (the evidence is kept), or a failure of this machine. Ends the session. */
  fault(error: ChatError, subject: string, detail: Uint8Array): void;
}
