import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreError } from '../../src/core/object-store.ts';
import { bytesOf } from '../protocols/rest/rest-client.ts';
import { type RestGateway, startRestGateway } from '../protocols/rest/rest-gateway.ts';
import { useMinio } from '../support/stores.ts';
import { findChromium } from './chromium.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
/** The script that its users load; beside it are the builds for bundlers. */
const upchunkScript = join(dirname(createRequire(import.meta.url).resolve('@mux/upchunk')), 'upchunk.js');

/** What the script leaves in the page. */
type PageGlobals = { readonly UpChunk: typeof import('@mux/upchunk') };

interface Outcome {
  readonly error: string | undefined;
  readonly statuses: readonly number[];
  readonly attempts: number;
}

const executablePath = await findChromium('@mux/upchunk');
const hasMinio = (await useMinio()) !== undefined;

describe.skipIf(executablePath === undefined || !hasMinio)('@mux/upchunk in a browser', { timeout: 120_000 }, () => {
  let folder: string;
  let gateway: RestGateway;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'partway-upchunk-'));
    gateway = await startRestGateway('minio');
    browser = await chromium.launch({ executablePath: executablePath ?? '', args: ['--no-sandbox'] });
    page = await browser.newPage();
    const html = '<!doctype html><input type="file">';
    await page.route('**/test-page', (route) => route.fulfill({ contentType: 'text/html', body: html }));
    await page.goto(`${gateway.url}/test-page`);
    await page.addScriptTag({ path: upchunkScript });
  });

  afterAll(async () => {
    await browser?.close();
    await gateway?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function upload(key: string, bytes: Buffer, options: { chunkSize?: number } = {}): Promise<Outcome> {
    const path = join(folder, 'file');
    await writeFile(path, bytes);
    await page.setInputFiles('input', path);
    return page.locator('input').evaluate(
      (input, { endpoint, chunkSize }) =>
        new Promise<Outcome>((resolve) => {
          const { UpChunk } = globalThis as unknown as PageGlobals;
          const [file] = (input as unknown as { readonly files: Iterable<File> }).files;
          if (file === undefined) throw new Error('no file');
          const statuses: number[] = [];
          let attempts = 0;
          const sending = UpChunk.createUpload({
            endpoint,
            file,
            delayBeforeAttempt: 0.1,
            ...(chunkSize === undefined ? {} : { chunkSize }),
          });
          sending.on('attempt', () => {
            attempts += 1;
          });
          sending.on('chunkSuccess', (event) => statuses.push(event.detail.response.statusCode));
          sending.on('error', (event) => resolve({ error: event.detail.message, statuses, attempts }));
          sending.on('success', () => resolve({ error: undefined, statuses, attempts }));
        }),
      { endpoint: `${gateway.url}/objects/${key}`, ...options },
    );
  }

  const expectStored = async (key: string, bytes: Buffer) =>
    expect((await gateway.client.read(key)).bytes.equals(bytes)).toBe(true);

  test('sends chunks of its usual size, each of which becomes a part', async () => {
    const bytes = bytesOf(65 * MiB + 3, 'usual');
    gateway.probe.forget();
    expect(await upload('usual', bytes)).toEqual({ error: undefined, statuses: [200, 200, 200], attempts: 3 });
    expect(gateway.probe.calls('uploadPart').map(({ input }) => input.sizeBytes)).toEqual([
      30 * MiB,
      30 * MiB,
      5 * MiB + 3,
    ]);
    await expectStored('usual', bytes);
  });

  test('sends its smallest chunks', async () => {
    const bytes = bytesOf(10 * MiB + 3, 'small');
    expect(await upload('small', bytes, { chunkSize: 256 })).toMatchObject({ error: undefined, attempts: 41 });
    await expectStored('small', bytes);
  });

  test.each([
    ['smaller than a part', 1024],
    ['of a part', 9 * 1024],
  ])('sends a chunk %s again when the store failed', async (what, chunkSize) => {
    const key = `failed ${what}`;
    const bytes = bytesOf(27 * MiB, key);
    const method = chunkSize === 1024 ? 'putObject' : 'uploadPart';
    let calls = 0;
    const mend = gateway.probe.before(method, () => {
      calls += 1;
      if (calls === 2) throw new StoreError('refused', 'as the test wants it');
    });
    const outcome = await upload(key, bytes, { chunkSize });
    mend();
    const chunks = bytes.length / KiB / chunkSize;
    expect(outcome).toMatchObject({ error: undefined, attempts: chunks + 1 });
    await expectStored(key, bytes);
  });

  test.each([
    ['smaller than a part', 1024],
    ['of a part', 9 * 1024],
  ])('sends a chunk %s again when its answer was lost', async (what, chunkSize) => {
    const key = `lost ${what}`;
    const bytes = bytesOf(27 * MiB, key);
    let requests = 0;
    await page.route('**/objects/**', async (route) => {
      requests += 1;
      if (requests !== 2) return route.continue();
      await route.fetch();
      return route.fulfill({ status: 504 });
    });
    const outcome = await upload(key, bytes, { chunkSize });
    await page.unroute('**/objects/**');
    const chunks = bytes.length / KiB / chunkSize;
    expect(outcome).toMatchObject({ error: undefined, attempts: chunks + 1 });
    await expectStored(key, bytes);
  });
});
