import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { writePieces } from '../../client/private-file.ts';

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
