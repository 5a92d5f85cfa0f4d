import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf } from '../protocols/rest/rest-client.ts';
import { type RestGateway, startRestGateway } from '../protocols/rest/rest-gateway.ts';
import { findChromium } from './chromium.ts';

const MiB = 1024 ** 2;
const require = createRequire(import.meta.url);
/** As its documentation loads them. */
const scripts = [
  require.resolve('jquery/dist/jquery.js'),
  require.resolve('blueimp-file-upload/js/vendor/jquery.ui.widget.js'),
  require.resolve('blueimp-file-upload/js/jquery.fileupload.js'),
];

interface FileUpload {
  done(then: (result: unknown, status: string, xhr: { readonly status: number }) => void): FileUpload;
  fail(then: (xhr: { readonly status: number }) => void): FileUpload;
  abort(): void;
}

/** What the scripts leave in the page. */
interface PageGlobals {
  jQuery(input: unknown): {
    fileupload(options: { readonly url: string; readonly chunkdone: () => void }): void;
    fileupload(command: 'send', data: object): FileUpload;
  };
}

interface Options {
  readonly maxChunkSize?: number;
  readonly multipart?: boolean;
  readonly formData?: Readonly<Record<string, string>>;
  readonly uploadedBytes?: number;
  /** Gives up once so many chunks are stored. */
  readonly abortAfter?: number;
}

interface Outcome {
  /** Of the last request; 0: none. */
  readonly status: number;
  readonly result?: unknown;
  readonly chunks: number;
}

const executablePath = await findChromium('blueimp-file-upload');

describe.skipIf(executablePath === undefined)('blueimp-file-upload in a browser', { timeout: 120_000 }, () => {
  let folder: string;
  let gateway: RestGateway;
  let browser: Browser;
  let page: Page;
  let sent: { readonly contentType: string | undefined; readonly range: string | undefined }[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'partway-blueimp-'));
    gateway = await startRestGateway('disk');
    browser = await chromium.launch({ executablePath: executablePath ?? '', args: ['--no-sandbox'] });
    page = await browser.newPage();
    page.on('request', (request) => {
      if (!request.url().includes('/objects/')) return;
      const { 'content-type': contentType, 'content-range': range } = request.headers();
      sent.push({ contentType: contentType?.replace(/;.*/, ''), range });
    });
    const html = '<!doctype html><input type="file">';
    await page.route('**/test-page', (route) => route.fulfill({ contentType: 'text/html', body: html }));
    await page.goto(`${gateway.url}/test-page`);
    for (const path of scripts) await page.addScriptTag({ path });
  });

  afterAll(async () => {
    await browser?.close();
    await gateway?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function upload(key: string, bytes: Buffer, options: Options = {}): Promise<Outcome> {
    sent = [];
    const path = join(folder, 'picture.png');
    await writeFile(path, bytes);
    await page.setInputFiles('input', path);
    return page.locator('input').evaluate(
      (input, { url, abortAfter, ...rest }) =>
        new Promise<Outcome>((resolve) => {
          const { jQuery } = globalThis as unknown as PageGlobals;
          const [file] = (input as unknown as { readonly files: Iterable<File> }).files;
          let chunks = 0;
          const element = jQuery(input);
          element.fileupload({
            url,
            chunkdone: () => {
              chunks += 1;
              if (chunks === abortAfter) setTimeout(() => sending.abort());
            },
          });
          const sending = element.fileupload('send', { files: [file], ...rest });
          sending.done((result, _status, { status }) => resolve({ status, result, chunks }));
          sending.fail(({ status }) => resolve({ status, chunks }));
        }),
      { url: `${gateway.url}/objects/${key}`, ...options },
    );
  }

  const expectStored = async (key: string, bytes: Buffer) => {
    const object = await gateway.client.read(key);
    expect(object.bytes.equals(bytes)).toBe(true);
    expect(object.headers['content-type']).toBe('image/png');
  };

  const requestsOf = (contentType: string, size: number, chunkBytes: number) =>
    Array.from({ length: Math.ceil(size / chunkBytes) }, (_, index) => ({
      contentType,
      range: `bytes ${index * chunkBytes}-${Math.min(size, (index + 1) * chunkBytes) - 1}/${size}`,
    }));

  test('sends each chunk in a form', async () => {
    const bytes = bytesOf(10 * MiB + 3, 'chunks');
    const outcome = await upload('chunks.png', bytes, { maxChunkSize: MiB, formData: { token: 'abc' } });
    expect(outcome).toMatchObject({ status: 200, result: { state: 'completed', size: bytes.length }, chunks: 11 });
    expect(sent).toEqual(requestsOf('multipart/form-data', bytes.length, MiB));
    await expectStored('chunks.png', bytes);
  });

  test('sends a file that is one chunk in a form without a range', async () => {
    const bytes = bytesOf(MiB, 'one');
    expect(await upload('one.png', bytes, { maxChunkSize: MiB })).toMatchObject({ status: 200, chunks: 0 });
    expect(sent).toEqual([{ contentType: 'multipart/form-data', range: undefined }]);
    await expectStored('one.png', bytes);
  });

  test('sends the bytes themselves where it is told to', async () => {
    const bytes = bytesOf(3 * MiB + 3, 'plain');
    expect(await upload('plain.png', bytes, { maxChunkSize: MiB, multipart: false })).toMatchObject({ chunks: 4 });
    expect(sent).toEqual(requestsOf('image/png', bytes.length, MiB));
    await expectStored('plain.png', bytes);
  });

  test('goes on where it was broken off', async () => {
    const bytes = bytesOf(5 * MiB + 3, 'resumed');
    expect(await upload('resumed.png', bytes, { maxChunkSize: MiB, abortAfter: 2 })).toMatchObject({ chunks: 2 });
    const headers = { 'content-range': `bytes */${bytes.length}` };
    const asked = await gateway.client.request('POST', '/objects/resumed.png', Buffer.alloc(0), headers);
    const { offset } = JSON.parse(asked.text) as { offset: number };
    expect(offset).toBeGreaterThanOrEqual(2 * MiB);
    const outcome = await upload('resumed.png', bytes, { maxChunkSize: MiB, uploadedBytes: offset });
    expect(outcome).toMatchObject({ status: 200, result: { state: 'completed' } });
    expect(sent[0]?.range).toMatch(new RegExp(`^bytes ${offset}-`));
    await expectStored('resumed.png', bytes);
  });
});
