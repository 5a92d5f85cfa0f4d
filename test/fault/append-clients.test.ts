import { createHash, randomBytes, randomInt } from 'node:crypto';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Dice } from '../soak/dice.ts';
import { type Fault, type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { TestReaper } from '../support/remains.ts';
import { createBucket, useMinio } from '../support/stores.ts';
import { readStored } from './stored-object.ts';
import { sha256 } from './upload-client.ts';

const MiB = 1024 ** 2;
const minio = await useMinio();
const uploads = Number(process.env.APPEND_UPLOADS ?? 3);
const seed = Number(process.env.APPEND_SEED ?? randomInt(2 ** 31));
const mostSteps = 400;

type Headers = Readonly<Record<string, string>>;

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** What a protocol calls the same things. */
interface Dialect {
  readonly refused: ReadonlySet<number>;
  create(length: number | undefined): { readonly path: string; readonly headers: Headers };
  append(input: { offset: number; length: number; isLast: boolean; sha256: string | undefined }): Headers;
  readonly head: Headers;
  isDone(answer: Answer, length: number): boolean;
}

const base64 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('base64');

const dialects: Readonly<Record<'tus' | 'ietf', (key: string) => Dialect>> = {
  tus: () => ({
    refused: new Set([409, 460]),
    create: (length) => ({
      path: '/files',
      headers: {
        'tus-resumable': '1.0.0',
        ...(length === undefined ? { 'upload-defer-length': '1' } : { 'upload-length': String(length) }),
      },
    }),
    append: ({ offset, length, isLast, sha256: digest }) => ({
      'tus-resumable': '1.0.0',
      'content-type': 'application/offset+octet-stream',
      'upload-offset': String(offset),
      ...(isLast ? { 'upload-length': String(length) } : {}),
      ...(digest === undefined ? {} : { 'upload-checksum': `sha256 ${digest}` }),
    }),
    head: { 'tus-resumable': '1.0.0' },
    isDone: ({ headers }, length) => headers['upload-offset'] === String(length),
  }),
  ietf: (key) => ({
    refused: new Set([400, 409, 422]),
    create: (length) => ({
      path: `/objects/${key}`,
      headers: {
        'upload-complete': '?0',
        'content-length': '0',
        ...(length === undefined ? {} : { 'upload-length': String(length) }),
      },
    }),
    append: ({ offset, isLast, sha256: digest }) => ({
      'content-type': 'application/partial-upload',
      'upload-offset': String(offset),
      'upload-complete': isLast ? '?1' : '?0',
      ...(digest === undefined ? {} : { 'content-digest': `sha-256=:${digest}:` }),
    }),
    head: {},
    isDone: ({ headers }) => headers['upload-complete'] === '?1',
  }),
};

describe.runIf(minio)('clients that append, over a line that breaks, to a store that fails, by two gateways', () => {
  const store = minio!;
  const agent = new Agent({ keepAlive: true });
  let started: AsyncDisposableStack;
  let database: TestDatabase;
  let line: FaultProxy;
  let replicas: readonly TestGateway[];
  let reaper: TestReaper;
  let bucket: string;

  beforeAll(async () => {
    started = new AsyncDisposableStack();
    database = await createTestDatabase();
    started.defer(() => database.drop());
    bucket = await createBucket(store);
    line = await startFaultProxy({ target: store.endpoint });
    started.defer(() => line.stop());
    reaper = started.use(new TestReaper({ store, bucket, databaseUrl: database.url }));
    const env = { DATABASE_URL: database.url, ...storeSettings(store, bucket, line.url) };
    replicas = await Promise.all([startTestGateway({ env }), startTestGateway({ env })]);
    for (const replica of replicas) started.defer(async () => void (await replica.stop()));
    started.defer(() => agent.destroy());
  });

  afterAll(() => started.disposeAsync());

  /** One request. `cutAfter` breaks the connection off after so many bytes of the body; `undefined`: no answer came. */
  function exchange(
    replica: number,
    method: string,
    path: string,
    headers: Headers,
    body?: Buffer,
    cutAfter?: number,
  ): Promise<Answer | undefined> {
    return new Promise((resolve) => {
      const sent = request(`${replicas[replica]!.url}${path}`, {
        method,
        agent: cutAfter === undefined ? agent : false,
        headers: { ...(body === undefined ? {} : { 'content-length': String(body.length) }), ...headers },
      });
      sent.once('error', () => resolve(undefined));
      sent.once('response', (incoming) => {
        text(incoming).then(
          (answer) => resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text: answer }),
          () => resolve(undefined),
        );
      });
      if (body === undefined || cutAfter === undefined) sent.end(body);
      else sent.write(body.subarray(0, cutAfter), () => sent.destroy());
    });
  }

  class AppendClient {
    readonly #dice: Dice;
    readonly #dialect: Dialect;
    readonly #file: Buffer;
    readonly #statuses = new Map<number | 'none', number>();
    #isLengthTold: boolean;
    #path = '';
    /** What was told last, and so can never be less. */
    #offset = 0;

    constructor(dice: Dice, protocol: 'tus' | 'ietf', name: string) {
      this.#dice = dice;
      this.#dialect = dialects[protocol](name);
      this.#file = randomBytes(dice.spread(16 * 1024, 24 * MiB));
      this.#isLengthTold = !dice.isOneIn(3);
    }

    async upload(): Promise<{ readonly path: string; readonly file: Buffer; readonly statuses: string }> {
      const { path, headers } = this.#dialect.create(this.#isLengthTold ? this.#file.length : undefined);
      while (this.#path === '') {
        const answer = await this.#ask('POST', path, headers);
        if (answer?.status === 201) this.#path = new URL(String(answer.headers.location), 'http://x').pathname;
        else await pause(50);
      }
      for (let steps = 0; !(await this.#look()); steps++) {
        if (steps === mostSteps) throw new Error(`not done after ${steps} steps: ${this.statuses}`);
        await this.#step();
      }
      return { path: this.#path, file: this.#file, statuses: this.statuses };
    }

    get statuses(): string {
      return [...this.#statuses].map(([status, count]) => `${count} × ${status}`).join(', ');
    }

    async #step(): Promise<void> {
      const dice = this.#dice;
      const left = this.#file.length - this.#offset;
      const sizeBytes = dice.isOneIn(4) ? left : Math.min(left, dice.spread(1, 10 * MiB));
      const body = this.#file.subarray(this.#offset, this.#offset + sizeBytes);
      const kind = dice.pick([
        'whole',
        'whole',
        'whole',
        'checked',
        'cut',
        'cut',
        'hangs',
        'garbled',
        'elsewhere',
        'twice',
      ]);
      const headers = (offset = this.#offset, digest?: string) =>
        this.#dialect.append({
          offset,
          length: this.#file.length,
          isLast: sizeBytes === left && (dice.isOneIn(2) || !this.#isLengthTold || left === 0),
          sha256: digest,
        });
      switch (kind) {
        case 'whole':
          return this.#told(await this.#ask('PATCH', this.#path, headers(), body));
        case 'checked':
          return this.#told(await this.#ask('PATCH', this.#path, headers(this.#offset, base64(body)), body));
        case 'garbled': {
          if (sizeBytes === 0) return;
          const garbled = Buffer.from(body);
          garbled[dice.between(0, sizeBytes - 1)]! ^= 1;
          return this.#refused(await this.#ask('PATCH', this.#path, headers(this.#offset, base64(body)), garbled));
        }
        case 'cut':
          await this.#ask('PATCH', this.#path, headers(), body, dice.between(0, sizeBytes));
          return;
        case 'hangs': {
          const hanging = this.#ask('PATCH', this.#path, headers(), body, dice.between(0, sizeBytes));
          await this.#look();
          await hanging;
          return;
        }
        case 'elsewhere': {
          // What reaches beyond the end ends an upload of the draft.
          if (left === sizeBytes) return;
          const offset = this.#offset + dice.between(1, left - sizeBytes);
          return this.#refused(await this.#ask('PATCH', this.#path, headers(offset), body));
        }
        case 'twice': {
          const same = headers();
          const both = [0, 1].map(() => this.#ask('PATCH', this.#path, same, Buffer.from(body)));
          for (const answer of await Promise.all(both)) this.#told(answer);
          return;
        }
      }
    }

    /** @returns whether it is done */
    async #look(): Promise<boolean> {
      for (;;) {
        const before = this.#offset;
        const answer = await this.#ask('HEAD', this.#path, this.#dialect.head);
        if (answer !== undefined && (answer.status === 200 || answer.status === 204)) {
          const offset = Number(answer.headers['upload-offset']);
          if (!(offset >= before && offset <= this.#file.length)) throw new Error(`offset ${offset} after ${before}`);
          this.#offset = offset;
          return this.#dialect.isDone(answer, this.#file.length);
        }
        if (answer !== undefined && ![423, 503].includes(answer.status)) throw new Error(`HEAD: ${answer.status}`);
        await pause(50);
      }
    }

    #told(answer: Answer | undefined): void {
      const offset = Number(answer?.headers['upload-offset'] ?? Number.NaN);
      if (answer === undefined || answer.status >= 300 || Number.isNaN(offset)) return;
      if (offset > this.#file.length) throw new Error(`offset ${offset} of ${this.#file.length}`);
      this.#offset = Math.max(this.#offset, offset);
    }

    #refused(answer: Answer | undefined): void {
      if (answer === undefined || [423, 503, 507].includes(answer.status)) return;
      if (!this.#dialect.refused.has(answer.status)) throw new Error(`not refused: ${answer.status} ${answer.text}`);
    }

    async #ask(method: string, path: string, headers: Headers, body?: Buffer, cutAfter?: number) {
      const rule = this.#dice.isOneIn(3)
        ? line.rule({
            match: () => true,
            after: this.#dice.between(0, 3),
            times: this.#dice.between(1, 2),
            fault: this.#fault(),
          })
        : undefined;
      const answer = await exchange(this.#dice.between(0, 1), method, path, headers, body, cutAfter);
      rule?.remove();
      const status = answer?.status ?? 'none';
      this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1);
      if (status === 500) throw new Error(`${method}: 500 ${answer?.text}`);
      return answer;
    }

    #fault(): Fault {
      return this.#dice.pick<Fault>([
        { kind: 'answer', status: 503, code: 'SlowDown' },
        { kind: 'answer', status: 500, code: 'InternalError', readBody: false },
        { kind: 'reset' },
        { kind: 'reset', at: { on: 'request', afterBytes: this.#dice.between(1, MiB) } },
        { kind: 'dropAnswer' },
      ]);
    }
  }

  test.each(['tus', 'ietf'] as const)(
    'by %s: what was told stays, nothing else comes, and nothing is left behind',
    async (protocol) => {
      for (let round = 0; round < uploads; round++) {
        const name = `${protocol}-${seed}-${round}`;
        const client = new AppendClient(new Dice(seed + round), protocol, name);
        const { path, file, statuses } = await client.upload().catch((error: unknown) => {
          throw new Error(`${name}: ${client.statuses}`, { cause: error });
        });
        line.clear();
        const id = path.split('/').at(-1);
        const upload = await (await fetch(`${replicas[0]!.url}/uploads/${id}`)).json();
        expect(upload, name).toMatchObject({ state: 'completed', size: file.length });
        expect(sha256(await readStored(store, bucket, (upload as { key: string }).key)), name).toBe(sha256(file));
        console.log(`${name}: ${file.length} bytes equal; answers: ${statuses}`);
      }
      await reaper.reapAll();
    },
    600_000,
  );
});
