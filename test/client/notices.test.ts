import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Vault } from '../../client/vault.ts';

const texts = ({ notices }: Vault, after = 0): string[] => notices.untold(after).map(({ text }) => text);

t.test('a notice waits for whoever can tell it, in whatever process that is', (t) => {
  const folder = join(t.testdir({}), 'p');
  let vault = Vault.open(folder);
  vault.notices.add(1, 'one');
  vault.notices.add(2, 'two', Buffer.from('subject'));
  vault.notices.add(3, 'two again', Buffer.from('subject'));
  vault.notices.add(4, 'one');
  t.throws(() =>
    vault.transaction(() => {
      vault.notices.add(5, 'of what has not happened');
      throw new Error('no');
    }),
  );
  vault.close();

  vault = Vault.open(folder);
  t.match(vault.notices.untold(), { length: 3, 0: { at: 1, text: 'one' }, 1: { at: 2, text: 'two' }, 2: { at: 4 } });
  const [first, second, third] = vault.notices.untold();
  t.strictSame(texts(vault, first!.row), ['two', 'one']);
  for (const { row } of [first!, second!, third!]) vault.notices.told(row);
  vault.notices.told(third!.row);
  t.strictSame(texts(vault), []);
  vault.notices.add(6, 'two once more', Buffer.from('subject'));
  t.strictSame(texts(vault), [], 'of one subject once and for all');
  vault.notices.add(7, 'three');
  t.ok(vault.notices.untold()[0]!.row > third!.row, 'rows are not used again');
  const files = readdirSync(folder).map((name) => readFileSync(join(folder, name)));
  t.notOk(files.some((bytes) => bytes.includes('three')));
  vault.close();
  t.end();
});
