import pg from 'pg';
import { expect } from 'vitest';
import { z } from 'zod';
import { type ProgressJson, progressBody } from '../../../src/protocols/content-range/contract.ts';
import { problemOf } from '../rest/rest-client.ts';
import type { RestGateway } from '../rest/rest-gateway.ts';
import type { Answer, Wire } from '../rest/wire.ts';

type Headers = Readonly<Record<string, string>>;

/** Answers may have no member that the contract does not name. */
const progress = z.strictObject({
  ...progressBody.shape,
  missing: z.array(z.strictObject(progressBody.shape.missing.element.shape)),
});

/** A client that knows nothing but a URL, and the file that it sends there. */
export class RangeClient {
  readonly #wire: Wire;
  readonly path: string;
  readonly #headers: Headers;

  constructor(wire: Wire, path: string, headers: Headers = {}) {
    this.#wire = wire;
    this.path = path;
    this.#headers = headers;
  }

  /** Any request to the URL; `range` is the value of Content-Range. */
  async send(range: string | undefined, body: Buffer = Buffer.alloc(0), headers: Headers = {}): Promise<Answer> {
    const all = { ...(range === undefined ? {} : { 'content-range': range }), ...this.#headers, ...headers };
    const answer = await this.#wire.send({ method: 'POST', path: this.path, headers: all }, body);
    if (answer.status >= 400) problemOf(answer);
    return answer;
  }

  /** Bytes of a file at their place. `to` is not included. */
  chunk(file: Buffer, from: number, to: number, total: number | '*' = file.length): Promise<Answer> {
    const bytes = file.subarray(from, to);
    return this.send(`bytes ${from}-${from + bytes.length - 1}/${total}`, bytes);
  }

  ask(total: number | '*' = '*'): Promise<Answer> {
    return this.send(`bytes */${total}`);
  }

  /** A whole file, chunk after chunk. */
  async sendAll(file: Buffer, chunkBytes: number): Promise<Answer> {
    let last: Answer | undefined;
    for (let from = 0; from < file.length; from += chunkBytes) {
      last = await this.chunk(file, from, from + chunkBytes);
      expect(`${last.status} ${last.text}`).toMatch(/^200 /);
    }
    if (last === undefined) throw new Error('an empty file has no chunks');
    return last;
  }
}

export function rangeClient(gateway: RestGateway, path: string, headers: Headers = {}): RangeClient {
  return new RangeClient(gateway.client.wire, path, headers);
}

/** How far the upload is, from an answer whose headers and body say the same. */
export function progressOf(answer: Answer): ProgressJson {
  expect(`${answer.status} ${answer.text}`).toMatch(/^200 /);
  const told = progress.parse(JSON.parse(answer.text));
  const { offset, size, etag } = told;
  expect(answer.headers).toMatchObject({
    'content-type': 'application/json',
    'cache-control': 'no-store',
    'upload-offset': String(offset),
  });
  expect(answer.headers.range).toBe(offset === 0 ? undefined : `bytes=0-${offset - 1}`);
  expect(answer.headers['upload-length']).toBe(size === undefined ? undefined : String(size));
  expect(answer.headers.etag).toBe(etag);
  return told;
}

/** The object at a key, as the gateway serves it. */
export async function objectAt(gateway: RestGateway, key: string): Promise<Buffer | undefined> {
  const { status, bytes } = await gateway.client.read(key);
  return status === 200 ? bytes : undefined;
}

/** Changes what is on record, as time or a fault would. */
export async function onRecord(gateway: RestGateway, statement: string, values: readonly unknown[]): Promise<void> {
  const client = new pg.Client({ connectionString: gateway.databaseUrl });
  await client.connect();
  try {
    expect((await client.query(statement, [...values])).rowCount).toBe(1);
  } finally {
    await client.end();
  }
}

/** As if nobody had written to the upload for so long. */
export async function letIdle(gateway: RestGateway, id: string, minutes: number): Promise<void> {
  const statement = "update uploads set last_write_at = now() - $2::float8 * interval '1 minute' where id = $1";
  await onRecord(gateway, statement, [id, minutes]);
}
