import { createHash } from 'node:crypto';
import { crc32c } from '@node-rs/crc32';
import { expect } from 'vitest';
import { type Answer, type Exchange, Wire } from '../rest/wire.ts';

type Headers = Readonly<Record<string, string>>;

interface GoogleObject {
  readonly kind: string;
  readonly id: string;
  readonly name: string;
  readonly bucket: string;
  readonly generation: string;
  readonly metageneration: string;
  readonly contentType: string;
  readonly size: string;
  readonly md5Hash?: string;
  readonly crc32c?: string;
  readonly timeCreated: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Speaks the JSON API as plainly as it is written down. */
export class GoogleClient {
  readonly wire: Wire;
  readonly #bucket: string;

  constructor(url: string, bucket: string) {
    this.wire = new Wire(url);
    this.#bucket = bucket;
  }

  open(query: string, resource?: unknown, headers: Headers = {}): Promise<Answer> {
    return this.wire.send(
      {
        method: 'POST',
        path: `/upload/storage/v1/b/${this.#bucket}/o?uploadType=resumable${query}`,
        headers: { ...(resource === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      },
      resource === undefined ? undefined : JSON.stringify(resource),
    );
  }

  /** A session for this object, as path and query. */
  async session(name: string, headers: Headers = {}): Promise<string> {
    return sessionOf(await this.open(`&name=${encodeURIComponent(name)}`, undefined, headers));
  }

  put(session: string, contentRange: string | undefined, body?: Buffer, headers: Headers = {}): Promise<Answer> {
    return this.wire.send(
      {
        method: 'PUT',
        path: session,
        headers: {
          ...(contentRange === undefined ? {} : { 'content-range': contentRange }),
          ...(body === undefined ? { 'content-length': '0' } : {}),
          ...headers,
        },
      },
      body,
    );
  }

  /** A body that the test sends as it likes; without a length it is chunked. */
  openPut(session: string, headers: Headers): Exchange {
    return this.wire.open({
      method: 'PUT',
      path: session,
      headers: { ...('content-length' in headers ? {} : { 'transfer-encoding': 'chunked' }), ...headers },
    });
  }

  cancel(session: string): Promise<Answer> {
    return this.wire.send({ method: 'DELETE', path: session });
  }

  close(): void {
    this.wire.close();
  }
}

export function sessionOf(answer: Answer): string {
  expect(`${answer.status} ${answer.text}`).toBe('200 ');
  const { pathname, search } = new URL(answer.headers.location ?? '');
  return pathname + search;
}

/** More is wanted, and so many bytes are held. */
export function expectIncomplete(answer: Answer, offset: number): void {
  expect(`${answer.status} ${answer.text}`).toBe('308 ');
  expect(answer.headers.range).toBe(offset === 0 ? undefined : `bytes=0-${offset - 1}`);
  expect(answer.headers.location).toBeUndefined();
}

/** The object is made, of these bytes. */
export function expectDone(answer: Answer, bytes: Buffer): GoogleObject {
  expect(`${answer.status} ${answer.status === 200 ? '' : answer.text}`).toBe('200 ');
  expect(answer.headers['content-type']).toMatch(/^application\/json\b/);
  const object = JSON.parse(answer.text) as GoogleObject;
  expect(object).toMatchObject({ kind: 'storage#object', size: String(bytes.length), ...hashesOf(bytes) });
  return object;
}

/** The error that an answer is, in the shape of the JSON API. */
export function expectError(answer: Answer, status: number, reason: string): { readonly message: string } {
  expect(`${answer.status} ${answer.status === status ? '' : answer.text}`).toBe(`${status} `);
  expect(answer.headers['content-type']).toMatch(/^application\/json\b/);
  const { error } = JSON.parse(answer.text) as { error: { message: string } };
  const message = expect.stringMatching(/^.+[.!]$/);
  expect(error).toEqual({ code: status, message, errors: [{ domain: 'global', reason, message }] });
  return error;
}

export function hashesOf(bytes: Buffer): { readonly crc32c: string; readonly md5Hash: string } {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32c(bytes));
  return { crc32c: crc.toString('base64'), md5Hash: createHash('md5').update(bytes).digest('base64') };
}
