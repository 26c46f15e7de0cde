import t from 'tap';
import { openStore, storeStatus } from '../../store/open.ts';

const refused: readonly (readonly [string, string])[] = [
  ['', 'empty'],
  ['chat.db', 'a path without a scheme'],
  ['sqlite:', 'no path'],
  ['sqlite::memory:', 'would forget everything'],
  ['sqlite:file:x?mode=memory', 'an SQLite URI'],
  ['sqlite:a\0b', 'a NUL'],
  ['postgres://u@localhost/db', 'another database'],
  ['mysql:u@localhost/db', 'not a URL with a host'],
  ['mysql://localhost/db', 'no user'],
  ['mysql://u@localhost', 'no database'],
  ['mysql://u@localhost/', 'no database'],
  ['mysql://u@localhost/a/b', 'a path'],
  ['mysql://u@localhost/a%2Fb', 'a path'],
  ['mysql://u@localhost/%zz', 'bad escape'],
  ['mysql://u@localhost/db#x', 'a fragment'],
  ['mysql://u:pw@localhost/db', 'a password in the URL'],
  ['mysql://u@localhost/db?tls=maybe', 'tls is on or off'],
  ['mysql://u@localhost/db?tls=on&multipleStatements=true', 'unknown setting'],
  ['mysql://u@db.example.org/db?tls=off&ca=/x', 'a CA without TLS'],
  ['mysql://u@127.0.0.1/db?tls=on', 'an address has no name to check'],
  ['mysql://u@192.0.2.1/db', 'off this machine TLS is on unless refused'],
  ['mysql://u@[2001:db8::1]/db', 'off this machine TLS is on unless refused'],
];
for (const [url, why] of refused)
  t.test(`refused: ${why}`, async (t) => {
    await t.rejects(openStore(url, null), { code: 'CONFIG_INVALID', field: 'db.url' });
    const error = await storeStatus(url, null).catch((error: Error) => error);
    t.notMatch(String(error), 'pw', 'the URL is not repeated');
  });

t.test('a CA file that cannot be read is said to be the fault', (t) =>
  t.rejects(openStore('mysql://u@localhost:1/db?tls=on&ca=/does/not/exist', null), {
    code: 'CONFIG_INVALID',
    message: /CA file/,
  }),
);

t.test('a server that is not there', async (t) => {
  await t.rejects(openStore('mysql://u@127.0.0.1:1/db', null), {
    code: 'STORE_FAILED',
    message: /ECONNREFUSED.*is it running/,
  });
  await t.rejects(storeStatus('mysql://u@[::1]:1/db?tls=off', null), { code: 'STORE_FAILED' });
});
