/** Alice's other device: another key and certificate of the same name, a profile of its own. */
import { execFileSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { certificates, root, type System } from './system.ts';

/** What the client's environment says on it. */
export function laptopOf(system: System): Record<string, string> {
  const folder = join(system.dir, 'laptop-certificates');
  cpSync(certificates(), folder, { recursive: true });
  const args = ['--out', folder, '--client', 'alice', '--key', 'ec256', '--force'];
  execFileSync('sh', [join(root, 'scripts/gen-certs.sh'), ...args], { stdio: 'ignore' });
  return {
    CHAT_CLIENT_HOME: join(system.dir, 'laptop'),
    CHAT_CERT_FILE: join(folder, 'alice.crt'),
    CHAT_KEY_FILE: join(folder, 'alice.key'),
  };
}
