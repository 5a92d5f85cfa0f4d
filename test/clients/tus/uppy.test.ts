import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { build } from 'rolldown';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bytesOf } from '../../protocols/rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../../protocols/rest/rest-gateway.ts';
import { TusClient } from '../../protocols/tus/tus-client.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../../support/fault-proxy.ts';
import { findChromium } from '../chromium.ts';

const MiB = 1024 ** 2;
const executablePath = await findChromium('Uppy');
const store = (await availableStores()).at(-1)!;
const pageSource = fileURLToPath(new URL('uppy-page.js', import.meta.url));

/** What the page has, as far as it is used here. */
interface UppyPage {
  readonly Tus: unknown;
  readonly Uppy: new () => {
    use(plugin: unknown, options: object): InstanceType<UppyPage['Uppy']>;
    addFile(file: { name: string; type: string; data: Blob }): void;
    upload(): Promise<{ readonly successful?: { uploadURL?: string }[]; readonly failed?: { error?: unknown }[] }>;
  };
}

const isPatch = ({ method }: ProxiedRequest) => method === 'PATCH';

describe.skipIf(executablePath === undefined)('Uppy in a browser', { timeout: 120_000 }, () => {
  let gateway: RestGateway;
  let proxy: FaultProxy;
  let plain: TusClient;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    gateway = await startRestGateway(store, { env: { PARTWAY_CORS_ORIGINS: 'http://page.example' } });
    proxy = await startFaultProxy({ target: gateway.url });
    plain = new TusClient(gateway.url);
    browser = await chromium.launch({
      executablePath: executablePath ?? '',
      // The page comes from no network, and so may not go to loopback otherwise.
      args: ['--no-sandbox', '--disable-features=LocalNetworkAccessChecks'],
    });
    page = await browser.newPage();
    await page.route('http://page.example/', (route) =>
      route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }),
    );
    await page.goto('http://page.example/');
    const { output } = await build({ input: pageSource, platform: 'browser', write: false });
    await page.addScriptTag({ type: 'module', content: output[0].code });
    await page.waitForFunction('globalThis.uppyPage !== undefined');
  });

  afterAll(async () => {
    await browser?.close();
    plain?.close();
    await proxy?.stop();
    await gateway?.stop();
  });

  beforeEach(() => proxy.clear());

  /** The path of the upload of a file with these bytes. */
  async function upload(name: string, bytes: Buffer, options: { readonly chunkSize?: number } = {}): Promise<string> {
    const url = await page.evaluate(
      async ({ endpoint, name: fileName, base64, given }) => {
        const { Uppy, Tus } = (globalThis as unknown as { readonly uppyPage: UppyPage }).uppyPage;
        const data = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
        const uppy = new Uppy().use(Tus, { endpoint, retryDelays: [0, 100, 200, 400], limit: 2, ...given });
        uppy.addFile({ name: fileName, type: 'video/mp4', data: new Blob([data]) });
        const result = await uppy.upload();
        const [file] = result.successful ?? [];
        if (file === undefined) throw new Error(String(result.failed?.[0]?.error));
        return file.uploadURL ?? '';
      },
      { endpoint: `${proxy.url}/files/`, name, base64: bytes.toString('base64'), given: options },
    );
    return new URL(url).pathname;
  }

  async function expectStored(path: string, bytes: Buffer): Promise<void> {
    const read = await plain.send('GET', path);
    expect(read.headers['content-type']).toBe('video/mp4');
    expect(read.bytes.equals(bytes)).toBe(true);
  }

  test.each([undefined, 5 * MiB])('sends a file across origins, in chunks of %s', async (chunkSize) => {
    const bytes = bytesOf(11 * MiB + 5, `uppy ${chunkSize}`);
    await expectStored(await upload(`chunks-${chunkSize}`, bytes, chunkSize === undefined ? {} : { chunkSize }), bytes);
  });

  test('goes on where its line was cut', async () => {
    const bytes = bytesOf(11 * MiB, 'uppy cut');
    // The first time the browser itself tries again.
    proxy.rule({ match: isPatch, times: 2, fault: { kind: 'reset', at: { on: 'request', afterBytes: 5 * MiB } } });
    await expectStored(await upload('cut', bytes), bytes);
    expect(proxy.requests.filter(({ method }) => method === 'HEAD').length).toBeGreaterThan(0);
  });
});
