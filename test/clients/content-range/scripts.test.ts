import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreError } from '../../../src/core/object-store.ts';
import { readStored } from '../../fault/stored-object.ts';
import { bytesOf } from '../../protocols/rest/rest-client.ts';
import { type RestGateway, startRestGateway } from '../../protocols/rest/rest-gateway.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../../support/gateway.ts';
import { type PythonRun, runPython, usePython } from '../../support/python.ts';
import { createBucket, useMinio } from '../../support/stores.ts';

const MiB = 1024 ** 2;
const python = await usePython();
const minio = await useMinio();

type Script = 'sequential' | 'threaded';

describe.skipIf(python === undefined || minio === undefined)('scripts that know nothing but a URL', () => {
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'partway-scripts-'));
  });

  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function fileOf(name: string, bytes: Buffer): Promise<string> {
    const path = join(folder, name);
    await writeFile(path, bytes);
    return path;
  }

  function run(script: Script, path: string, url: string): Promise<PythonRun> {
    const program = fileURLToPath(new URL(`${script}.py`, import.meta.url));
    return runPython(python ?? '', [program, path, url, `${path}.state`]);
  }

  describe('over a gateway that lives', () => {
    let gateway: RestGateway;

    beforeAll(async () => {
      gateway = await startRestGateway('minio');
    });

    afterAll(() => gateway.stop());

    test.each(['sequential', 'threaded'] as const)('%s: a file arrives', { timeout: 120_000 }, async (script) => {
      const bytes = bytesOf(20 * MiB + 4711, script);
      const path = await fileOf(script, bytes);
      const { output, code } = await run(script, path, `${gateway.url}/objects/in/${script}.img`);
      expect({ code, output }).toMatchObject({ code: 0, output: expect.stringMatching(/^sent$/m) });
      expect((await gateway.client.read(`in/${script}.img`)).bytes.equals(bytes)).toBe(true);
      expect((await gateway.client.list(`?prefix=in/${script}`)).uploads).toHaveLength(1);
    });

    test('sequential: stops at a fault of the store, and goes on where it stopped', { timeout: 120_000 }, async () => {
      const bytes = bytesOf(12 * MiB, 'fault');
      const path = await fileOf('fault', bytes);
      const url = `${gateway.url}/objects/fault.img`;
      let calls = 0;
      const mend = gateway.probe.before('putObject', () => {
        calls += 1;
        if (calls >= 5) throw new StoreError('refused', 'as the test wants it');
      });
      const first = await run('sequential', path, url);
      mend();
      expect(first).toMatchObject({ code: 1, output: expect.stringContaining('chunk 4 failed: 503') });
      expect(await run('sequential', path, url)).toMatchObject({ code: 0 });
      expect((await gateway.client.read('fault.img')).bytes.equals(bytes)).toBe(true);
    });

    test('threaded: a chunk that its state file skips is named, and a later run fills it', {
      timeout: 120_000,
    }, async () => {
      const bytes = bytesOf(12 * MiB, 'skipped');
      const path = await fileOf('skipped', bytes);
      const url = `${gateway.url}/objects/skipped.img`;
      let hasFailed = false;
      const mend = gateway.probe.before('putObject', () => {
        if (hasFailed) return;
        hasFailed = true;
        throw new StoreError('refused', 'as the test wants it');
      });
      const first = await run('threaded', path, url);
      mend();
      expect(first.code).toBe(1);
      const failed = Number(/chunk (\d+) failed/.exec(first.output)?.[1]);
      const second = await run('threaded', path, url);
      const { state, missing } = JSON.parse(/^chunk 11: (.*)$/m.exec(second.output)?.[1] ?? '');
      if (failed === 11) expect(state).toBe('completed');
      else expect({ state, missing }).toEqual({ state: 'open', missing: [{ offset: failed * MiB, size: MiB }] });
      await rm(`${path}.state`);
      expect(await run('threaded', path, url)).toMatchObject({ code: 0 });
      expect((await gateway.client.read('skipped.img')).bytes.equals(bytes)).toBe(true);
    });
  });

  describe('over a gateway that is killed', () => {
    let gateway: TestGateway;
    let bucket: string;

    beforeAll(async () => {
      bucket = await createBucket(minio!);
      gateway = await startTestGateway({ env: storeSettings(minio!, bucket) });
    });

    afterAll(() => gateway?.stop());

    test.each([
      ['sequential', 'store.putObject:after:7'],
      ['sequential', 'records.commitFragment:after:3'],
      ['sequential', 'store.uploadPart:after:1'],
      ['sequential', 'store.completeMultipartUpload:after:1'],
      ['threaded', 'store.putObject:before:9'],
      ['threaded', 'records.commitFragment:after:9'],
    ] as const)(
      '%s: killed at %s, it is finished by running the script again',
      { timeout: 180_000 },
      async (script, killAt) => {
        const key = `${script} ${killAt}`;
        const bytes = bytesOf(18 * MiB + 1, key);
        const path = await fileOf(key.replace(/\W/g, '-'), bytes);
        const url = `${gateway.url}/objects/${encodeURIComponent(key)}`;
        await gateway.restart({ killAt });
        expect((await run(script, path, url)).code).toBe(1);
        expect(await gateway.exited).toMatchObject({ signal: 'SIGKILL' });
        await gateway.restart();
        // Those who count wrongly have to forget what they counted.
        if (script === 'threaded') await rm(`${path}.state`, { force: true });
        // What the killed one had under way is leased to it for some seconds: a script may meet that.
        await expect.poll(() => run(script, path, url), { timeout: 120_000, interval: 500 }).toMatchObject({ code: 0 });
        expect(bytes.equals(await readStored(minio!, bucket, key))).toBe(true);
      },
    );
  });
});
