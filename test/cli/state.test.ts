import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { planPush } from '../../src/cli/push/plan.ts';
import { StateFiles } from '../../src/cli/push/state.ts';
import type { PushFlags } from '../../src/cli/push.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'partway-state-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const record = { server: 'http://gateway', key: 'k', identity: '9 bytes', idempotencyKey: 'a-key' };

async function fileOf(state: StateFiles): Promise<string> {
  await state.set('f', record);
  const [name = ''] = await readdir(join(folder, 'partway'));
  return join(folder, 'partway', name);
}

test('what is remembered comes back', async () => {
  const state = new StateFiles({ XDG_STATE_HOME: join(folder, 'not/yet/there') });
  await state.set('f', record);
  expect(await state.get('f')).toEqual(record);
});

test.each(['', 'null', '[]', '{}', JSON.stringify({ ...record, idempotencyKey: 'a\nkey' }), '{"server":"http://x"'])(
  'what another hand has made of it, %j, is as if it were not there',
  async (content) => {
    const state = new StateFiles({ XDG_STATE_HOME: folder });
    await writeFile(await fileOf(state), content);
    expect(await state.get('f')).toBeUndefined();
  },
);

test('where nothing can be remembered it is told at once, and no draft stays', async () => {
  await expect(new StateFiles({ XDG_STATE_HOME: '/proc' }).set('f', record)).rejects.toThrow('XDG_STATE_HOME');
  const state = new StateFiles({ XDG_STATE_HOME: folder });
  const path = await fileOf(state);
  await rm(path);
  await mkdir(path);
  await expect(state.set('f', record)).rejects.toThrow('XDG_STATE_HOME');
  expect(await readdir(join(folder, 'partway'))).toHaveLength(1);
});

test('a folder that may not be read is one that fails, beside the others', async () => {
  const locked = join(folder, 'all/locked');
  await mkdir(locked, { recursive: true });
  await writeFile(join(folder, 'all/file'), 'x');
  await chmod(locked, 0o000);
  const plan = () => planPush([join(folder, 'all')], { commandWords: 0 } as PushFlags);
  expect((await asNobody(plan)).items).toMatchObject([
    { kind: 'file', key: 'all/file' },
    { kind: 'unreadable', path: locked, error: { name: 'SourceError', code: 'source_unreadable' } },
  ]);
});

/** Root may read everything. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  if (process.getuid?.() !== 0) return work();
  await chmod(folder, 0o755);
  process.seteuid?.(65534);
  try {
    return await work();
  } finally {
    process.seteuid?.(0);
  }
}
