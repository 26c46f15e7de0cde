/** How a profile stands: its account, what waits, and what is known of the server's log. */
import type { Account } from './profile-table.ts';
import type { Vault } from './vault.ts';

export interface Status {
  readonly server: string;
  readonly isConnected: boolean;
  readonly account: Account | null;
  readonly certificateDaysLeft: number;
  readonly suite: number | null;
  readonly confirmation: string | null;
  /** not accepted yet */
  readonly pending: number;
  /** accepted, no word of delivery yet, and pending ones */
  readonly undelivered: number;
  readonly log: { readonly origin: string; readonly size: number; readonly provenSize: number } | null;
  readonly alarms: number;
  /** accepted while somebody was there to take them, and nobody has signed for them since */
  readonly withheld: number;
  /** clock of the server minus ours at the last login, ms */
  readonly skewMs: number | null;
}

/** What the records of the profile say of it. */
export function recordsOf(vault: Vault): Pick<Status, 'account' | 'pending' | 'undelivered' | 'log' | 'alarms'> {
  const { ledger, profile } = vault;
  const origin = ledger.lastOrigin();
  const sizes = (of: string) => ({ size: ledger.newest(of)?.size ?? 0, provenSize: ledger.head(of)?.size ?? 0 });
  return {
    account: profile.account(),
    pending: vault.pending(),
    undelivered: vault.undelivered(),
    log: origin === null ? null : { origin, ...sizes(origin) },
    alarms: ledger.alarms().length,
  };
}
