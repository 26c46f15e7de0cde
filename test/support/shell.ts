/** `chat-client` as somebody at a shell meets it: commands one by one, or the interactive mode line by line. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import type { Test } from 'tap';
import { main } from '../../client/main.ts';
import { PATIENCE_MS } from './apps.ts';
import { ca } from './pair.ts';
import { PASSWORD, type World } from './world.ts';

class Sink extends Writable {
  text = '';
  onText: () => void = () => {};
  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.text += chunk.toString();
    this.onText();
    done();
  }
}

/** Somebody with a certificate, at a shell whose commands are this process. */
export async function shell(t: Test, w: World, name: string) {
  const person = await w.person(name);
  const file = (kind: string, content: string): string => {
    const path = join(t.testdirName, `${name}.${kind}`);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const env = {
    CHAT_CLIENT_HOME: join(t.testdirName, `home-${name}`),
    CHAT_SERVER: `localhost:${w.port}`,
    CHAT_CA_FILE: file('ca', ca.pem),
    CHAT_CERT_FILE: file('crt', person.issued.pem),
    CHAT_KEY_FILE: file('key', person.issued.keyPem),
    CHAT_PASSWORD_FILE: file('password', PASSWORD.toString()),
  };
  const run = async (...args: readonly string[]) => {
    const [out, err] = [new Sink(), new Sink()];
    const status = await main(args, env, { stdin: Readable.from([]), stdout: out, stderr: err });
    return { status, out: out.text, err: err.text };
  };
  /** Without a command: line by line, each when there is a reason for it. */
  const talk = () => {
    const [input, out, err] = [new PassThrough(), new Sink(), new Sink()];
    const ended = main([], env, { stdin: input, stdout: out, stderr: err });
    const sees = (what: string): Promise<void> =>
      new Promise((resolve, reject) => {
        const late = () => reject(new Error(`never saw “${what}” in ${out.text}${err.text}`));
        const timer = setTimeout(late, PATIENCE_MS);
        out.onText = err.onText = () => {
          if (!(out.text + err.text).includes(what)) return;
          clearTimeout(timer);
          resolve();
        };
        out.onText();
      });
    return { ended, sees, out, type: (line: string) => void input.write(`${line}\n`) };
  };
  return Object.assign(run, { talk });
}
