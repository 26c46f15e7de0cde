import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { writePieces } from '../../runtime/whole-file.ts';

t.test('a file is written whole, and what lies beside it stays', async (t) => {
  const dir = t.testdir({ 'out.tar.tmp': 'of somebody else' });
  writePieces(`${dir}/out.tar`, [Buffer.from('a'), Buffer.from('b')], false);
  t.equal(readFileSync(`${dir}/out.tar`, 'utf8'), 'ab');
  t.throws(() => writePieces(`${dir}/out.tar`, [Buffer.from('c')], false), { code: 'USAGE' });
  const failing = function* () {
    yield Buffer.from('half');
    throw new Error('no more');
  };
  t.throws(() => writePieces(`${dir}/out.tar`, failing(), true));
  t.equal(readFileSync(`${dir}/out.tar`, 'utf8'), 'ab');
  t.equal(readFileSync(`${dir}/out.tar.tmp`, 'utf8'), 'of somebody else');
  t.strictSame(readdirSync(dir).sort(), ['out.tar', 'out.tar.tmp']);
});

t.test('why it cannot be written is said', async (t) => {
  const path = `${t.testdir()}/none/out.tar`;
  t.throws(() => writePieces(path, [], false), { code: 'STORE_FAILED', message: `cannot write ${path} (ENOENT)` });
});

t.test('what is no file is not replaced by one', async (t) => {
  const dir = t.testdir({ there: t.fixture('symlink', '/dev/null') });
  t.throws(() => writePieces(`${dir}/there`, [Buffer.from('a')], true), { code: 'USAGE', message: /is no file/ });
  t.strictSame(readdirSync(dir), ['there']);
});
