import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import { type Answer, type Exchange, Wire } from '../rest/wire.ts';

type Headers = Readonly<Record<string, string>>;

export const chunkType = { 'content-type': 'application/offset+octet-stream' };

/** Speaks tus 1.0.0 as plainly as it is written down. */
export class TusClient {
  readonly wire: Wire;

  constructor(url: string) {
    this.wire = new Wire(url);
  }

  send(method: string, path: string, headers: Headers = {}, body?: Buffer): Promise<Answer> {
    return this.wire.send({ method, path, headers: { 'tus-resumable': '1.0.0', ...headers } }, body);
  }

  create(headers: Headers, body?: Buffer): Promise<Answer> {
    return this.send('POST', '/files', { ...(body === undefined ? {} : chunkType), ...headers }, body);
  }

  /** The path of a new upload. */
  async upload(size: number | undefined, headers: Headers = {}): Promise<string> {
    const length: Headers = size === undefined ? { 'upload-defer-length': '1' } : { 'upload-length': String(size) };
    return locationOf(await this.create({ ...length, ...headers }));
  }

  head(path: string): Promise<Answer> {
    return this.send('HEAD', path);
  }

  patch(path: string, offset: number, body: Buffer, headers: Headers = {}): Promise<Answer> {
    return this.send('PATCH', path, { ...chunkType, 'upload-offset': String(offset), ...headers }, body);
  }

  /** A body that the test sends as it likes; without a length it is chunked. */
  openPatch(path: string, offset: number, headers: Headers): Exchange {
    return this.wire.open({
      method: 'PATCH',
      path,
      headers: {
        'tus-resumable': '1.0.0',
        ...chunkType,
        'upload-offset': String(offset),
        ...('content-length' in headers ? {} : { 'transfer-encoding': 'chunked' }),
        ...headers,
      },
    });
  }

  close(): void {
    this.wire.close();
  }
}

export function locationOf({ status, headers, text }: Answer): string {
  expect({ status, text }).toEqual({ status: 201, text: '' });
  expect(headers.location).toMatch(/^\/files\/[0-9a-f]+$/);
  return String(headers.location);
}

/** The answer to a PATCH that brought the upload here. */
export function expectOffset(answer: Answer, offset: number): void {
  const { status, headers } = answer;
  expect({ status, offset: headers['upload-offset'], version: headers['tus-resumable'] }).toEqual({
    status: 204,
    offset: String(offset),
    version: '1.0.0',
  });
}

export function expectRefused(answer: Answer, status: number, code: string): void {
  expect({ status: answer.status, version: answer.headers['tus-resumable'], body: JSON.parse(answer.text) }).toEqual({
    status,
    version: '1.0.0',
    body: expect.objectContaining({ status, code }),
  });
  expect(answer.headers['upload-offset']).toBeUndefined();
}

export function sha1(bytes: Buffer): string {
  return `sha1 ${createHash('sha1').update(bytes).digest('base64')}`;
}

export function metadataOf(entries: Readonly<Record<string, string>>): string {
  return Object.entries(entries)
    .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
    .join(',');
}
