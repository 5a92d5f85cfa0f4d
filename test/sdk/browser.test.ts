import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire, stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type * as Sdk from '../../src/sdk/index.ts';
import { findChromium } from '../clients/chromium.ts';
import { bytesOf } from '../protocols/rest/rest-client.ts';
import { bytesIn, isData, isPart, isSigned, MiB, partBytes, type SdkGateway, startSdkGateway } from './sdk-gateway.ts';

const executablePath = await findChromium('the SDK');
const source = fileURLToPath(new URL('../../src/', import.meta.url));
const { resolve } = createRequire(import.meta.url);

/** What a bundler would find. */
const packages = {
  'hash-wasm': join(dirname(resolve('hash-wasm')), 'index.esm.js'),
  'p-retry': fileURLToPath(import.meta.resolve('p-retry')),
  'is-network-error': fileURLToPath(new URL('../is-network-error/index.js', import.meta.resolve('p-retry'))),
};

const html = `<!doctype html><input type="file"><script type="importmap">${JSON.stringify({
  imports: Object.fromEntries(Object.keys(packages).map((name) => [name, `/test-packages/${name}`])),
})}</script><script type="module">import * as sdk from '/test-src/sdk/index.ts'; globalThis.PartwaySdk = sdk;</script>`;

interface Outcome {
  readonly error?: { readonly name: string; readonly code: string };
  readonly mode?: string;
  readonly resumedBytes?: number;
  readonly steps: readonly number[];
}

describe.skipIf(executablePath === undefined)('the SDK in a browser', { timeout: 120_000 }, () => {
  let folder: string;
  let sdk: SdkGateway;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'partway-sdk-browser-'));
    sdk = await startSdkGateway();
    browser = await chromium.launch({
      executablePath: executablePath ?? '',
      // The page comes from no network, and so may not go to loopback otherwise.
      args: ['--no-sandbox', '--disable-features=LocalNetworkAccessChecks'],
    });
    page = await browser.newPage();
    await page.route('**/test-page', (route) => route.fulfill({ contentType: 'text/html', body: html }));
    await page.route('**/test-src/**', async (route) => {
      const path = join(source, new URL(route.request().url()).pathname.replace('/test-src/', ''));
      const body = stripTypeScriptTypes(await readFile(path, 'utf8'));
      await route.fulfill({ contentType: 'text/javascript', body });
    });
    await page.route('**/test-packages/**', async (route) => {
      const name = new URL(route.request().url()).pathname.replace('/test-packages/', '') as keyof typeof packages;
      await route.fulfill({ contentType: 'text/javascript', body: await readFile(packages[name], 'utf8') });
    });
    await page.goto(`${sdk.line.url}/test-page`);
    await page.waitForFunction('globalThis.PartwaySdk !== undefined');
  });

  afterAll(async () => {
    await browser?.close();
    await sdk?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  beforeEach(() => sdk.clear());

  async function chosen(bytes: Buffer): Promise<void> {
    const path = join(folder, 'video.bin');
    await writeFile(path, bytes);
    await page.setInputFiles('input', path);
  }

  /** Uploads the file that was chosen, remembered in the page's local storage. */
  async function upload(options: {
    key: string;
    mode?: 'relay' | 'direct';
    stopAfterBytes?: number;
  }): Promise<Outcome> {
    return page.locator('input').evaluate(async (input, { stopAfterBytes, ...given }) => {
      const { localStorage, location, PartwaySdk } = globalThis as unknown as {
        PartwaySdk: typeof Sdk;
        localStorage: {
          getItem(k: string): string | null;
          setItem(k: string, v: string): void;
          removeItem(k: string): void;
        };
        location: { origin: string };
      };
      const [file] = (input as unknown as { readonly files: Iterable<File> }).files;
      const steps: number[] = [];
      const stop = new AbortController();
      const task = PartwaySdk.upload(file!, {
        server: location.origin,
        parallel: 2,
        ...given,
        signal: stop.signal,
        resumeStore: {
          get: async (name) => JSON.parse(localStorage.getItem(name) ?? 'null') ?? undefined,
          set: async (name, record) => localStorage.setItem(name, JSON.stringify(record)),
          delete: async (name) => localStorage.removeItem(name),
        },
        onProgress: ({ storedBytes, reachedBytes }) => {
          steps.push(reachedBytes);
          if (storedBytes >= (stopAfterBytes ?? Number.POSITIVE_INFINITY)) stop.abort();
        },
      });
      return task.finished.then(
        ({ mode, resumedBytes }) => ({ mode, resumedBytes, steps }),
        ({ name, code }) => ({ error: { name, code }, steps }),
      );
    }, options);
  }

  async function expectStored(key: string, bytes: Buffer): Promise<void> {
    expect((await sdk.gateway.client.read(key)).bytes.equals(bytes)).toBe(true);
  }

  test('a file arrives through the gateway, each part with its digest, and progress moves within parts', async () => {
    const bytes = bytesOf(2 * partBytes + 5, 'browser');
    await chosen(bytes);
    const { steps, ...outcome } = await upload({ key: 'browser', mode: 'relay' });
    expect(outcome).toEqual({ mode: 'relay', resumedBytes: 0 });
    await expectStored('browser', bytes);
    expect(sdk.line.requests.filter(isPart).map(({ headers }) => headers.get('content-digest'))).toEqual(
      Array(3).fill(expect.stringMatching(/^crc32=:/)),
    );
    expect(steps.at(-1)).toBe(bytes.length);
  });

  test('a file goes straight to the store, across origins', async () => {
    if (sdk.storeLine === undefined) return;
    const bytes = bytesOf(2 * partBytes + 5, 'across');
    await chosen(bytes);
    expect(await upload({ key: 'across' })).toMatchObject({ mode: 'direct' });
    expect(bytesIn(sdk.storeLine, isSigned)).toBe(bytes.length);
    await expectStored('across', bytes);
  });

  test('stopped and begun again, it goes on; over a line that breaks, too', async () => {
    const bytes = bytesOf(5 * partBytes, 'again');
    await chosen(bytes);
    const slow = sdk.line.rule({ match: isPart, after: 2, fault: { kind: 'slow', bytesPerSecond: MiB } });
    const stopped = await upload({ key: 'again', mode: 'relay', stopAfterBytes: 2 * partBytes });
    expect(stopped.error).toMatchObject({ name: 'InterruptedError' });
    slow.remove();
    sdk.line.rule({ match: isData, times: 2, fault: { kind: 'reset', at: { on: 'request', afterBytes: MiB } } });
    const { resumedBytes } = await upload({ key: 'again', mode: 'relay' });
    expect(resumedBytes).toBeGreaterThanOrEqual(2 * partBytes);
    await expectStored('again', bytes);
  });
});
