import { createHash } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Deps } from '../../src/core/deps.ts';
import type { Digests } from '../../src/core/digest.ts';
import { ClientGoneError, UploadError } from '../../src/core/errors.ts';
import { missingRanges } from '../../src/core/missing-ranges.ts';
import { type ObjectStore, StoreError } from '../../src/core/object-store.ts';
import type { RangeRecords } from '../../src/core/range-records.ts';
import type { Upload } from '../../src/core/upload.ts';
import { writeRange } from '../../src/core/write-range.ts';
import { Reaper } from '../../src/reaper/reaper.ts';
import { CoreUnderTest, principal } from './core-under-test.ts';

/*
 * Random histories of one upload: writes at any offset, cut at any byte, by processes that die, over a store and
 * records whose calls fail before or after they did their work. Whatever happens: what was acknowledged stays
 * durable, the offset never falls, the object has the model's bytes, and the reaper leaves nothing behind.
 */
const runs = Number(process.env.PARTWAY_TEST_HISTORIES ?? 60);
const processes = 3;
const storeCalls = ['uploadPart', 'putObject', 'getObject', 'deleteObjects', 'completeMultipartUpload'] as const;
const recordCalls = [
  'beginFragment',
  'commitFragment',
  'beginRangePart',
  'commitRangePart',
  'forgetFragments',
] as const;

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());

interface Write {
  readonly process: number;
  /** Parts of the whole, in ten thousandths. */
  readonly from: number;
  readonly length: number;
  readonly cutAfter: number | undefined;
  readonly isLengthKnown: boolean;
  readonly digest: Digest;
}
type Digest = 'none' | 'right' | 'wrong';
type Step =
  | { readonly kind: 'write'; readonly writes: readonly Write[] }
  | { readonly kind: 'store_fails'; readonly call: (typeof storeCalls)[number]; readonly afterwards: boolean }
  | { readonly kind: 'records_fail'; readonly call: (typeof recordCalls)[number]; readonly afterwards: boolean }
  | { readonly kind: 'die'; readonly process: number }
  | { readonly kind: 'reap' };

const share = fc.integer({ min: 0, max: 10_000 });
const write: fc.Arbitrary<Write> = fc.record({
  process: fc.nat(processes - 1),
  from: share,
  length: fc.oneof(fc.integer({ min: 100, max: 1500 }), share),
  cutAfter: fc.option(share, { nil: undefined, freq: 3 }),
  isLengthKnown: fc.boolean(),
  digest: fc.constantFrom<Digest>('none', 'none', 'right', 'wrong'),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('write'), writes: fc.array(write, { minLength: 1, maxLength: 3 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('store_fails'),
      call: fc.constantFrom(...storeCalls),
      afterwards: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('records_fail'),
      call: fc.constantFrom(...recordCalls),
      afterwards: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('die'), process: fc.nat(processes - 1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reap') }) },
) as fc.Arbitrary<Step>;

const history = fc.record({
  sizeBytes: fc.integer({ min: 0, max: 20_000 }),
  slotBytes: fc.constantFrom(1024, 2048, 3000, 7000),
  isSizeKnown: fc.boolean(),
  budgets: fc.array(fc.constantFrom(0, 1500, 5000, 1_000_000), { minLength: processes, maxLength: processes }),
  steps: fc.array(step, { minLength: 1, maxLength: 12 }),
});
type History = typeof history extends fc.Arbitrary<infer T> ? T : never;

class Run {
  readonly #content: Buffer;
  readonly #acknowledged: { from: number; to: number }[] = [];
  readonly #budgets: readonly number[];
  readonly #slotBytes: number;
  readonly #isSizeKnown: boolean;
  readonly #processes: Deps[];
  #upload!: Upload;
  #offset = 0;

  constructor({ sizeBytes, slotBytes, isSizeKnown, budgets }: History) {
    this.#content = Buffer.from({ length: sizeBytes } as ArrayLike<number>);
    for (let at = 0; at < sizeBytes; at++) this.#content[at] = (at * 31 + (at >> 8) * 17) & 255;
    this.#slotBytes = slotBytes;
    this.#isSizeKnown = isSizeKnown;
    this.#budgets = budgets;
    this.#processes = budgets.map((budget) => core.elsewhere(budget));
  }

  async play(steps: readonly Step[]): Promise<void> {
    core.reset();
    this.#upload = await core.create({
      protocol: 'content-range',
      isSelfCompleting: true,
      partSizeBytes: this.#slotBytes,
      ...(this.#isSizeKnown ? { sizeBytes: this.#content.length } : {}),
    });
    for (const each of steps) {
      await this.#take(each);
      await this.#check();
    }
    await this.#finish();
  }

  async #take(each: Step): Promise<void> {
    switch (each.kind) {
      case 'write':
        await Promise.all(each.writes.map((one) => this.#write(one)));
        return;
      case 'store_fails':
        core.store.next(
          each.call,
          failing<ObjectStore>(
            each.afterwards && each.call !== 'getObject',
            new StoreError('unavailable', 'injected'),
          ) as never,
        );
        return;
      case 'records_fail':
        core.records.next(
          each.call,
          failing<RangeRecords>(each.afterwards, new UploadError('records_unavailable', 'injected')) as never,
        );
        return;
      case 'die':
        this.#processes[each.process] = core.elsewhere(this.#budgets[each.process]);
        await this.#letLeasesRunOut();
        return;
      case 'reap':
        await this.#reap();
    }
  }

  async #write({ process, from, length, cutAfter, isLengthKnown, digest }: Write): Promise<void> {
    const size = this.#content.length;
    const start = Math.floor((from / 10_001) * size);
    const end = Math.min(size, start + Math.max(1, Math.floor((length / 10_000) * size)));
    const content = this.#content.subarray(start, end);
    const cut = cutAfter === undefined ? undefined : Math.floor((cutAfter / 10_001) * content.length);
    await this.#send(start, content, { process, cut, isLengthKnown, digest });
  }

  async #send(
    start: number,
    content: Buffer,
    how: { process: number; cut?: number | undefined; isLengthKnown: boolean; digest?: Digest },
  ): Promise<void> {
    const deps = this.#processes[how.process] ?? core.deps;
    try {
      await writeRange(deps, {
        principal,
        upload: await core.find(this.#upload),
        offset: start,
        sizeBytes: how.isLengthKnown ? content.length : undefined,
        totalBytes: this.#content.length,
        mode: 'anywhere',
        completes: true,
        digests: digestsOf(content, how.digest),
        body: () => bodyOf(content, how.cut),
      });
      if (how.digest === 'wrong' && content.length > 0) throw new Error('a wrong digest was taken for a true one');
      this.#acknowledged.push({ from: start, to: start + content.length });
    } catch (error) {
      const isExpected = error instanceof ClientGoneError || (error instanceof UploadError && isPassing(error));
      if (!isExpected) throw error;
    }
  }

  async #check(): Promise<void> {
    const upload = await core.find(this.#upload);
    expect(upload.offset).toBeGreaterThanOrEqual(this.#offset);
    this.#offset = upload.offset;
    const missing = await missingRanges(core.deps, upload, { limit: 1000 });
    for (const { from, to } of this.#acknowledged) {
      const lost = missing.filter((range) => range.from < to && (range.to ?? Number.POSITIVE_INFINITY) > from);
      expect(lost).toEqual([]);
    }
  }

  /** Everything works again, and the client sends what is missing. */
  async #finish(): Promise<void> {
    core.store.reset();
    core.records.reset();
    for (let round = 0; round < 10; round++) {
      await this.#letLeasesRunOut();
      const upload = await core.find(this.#upload);
      if (upload.state === 'completed') break;
      for (const { from, to = this.#content.length } of await missingRanges(core.deps, upload, { limit: 1000 })) {
        await this.#send(from, this.#content.subarray(from, to), { process: 0, isLengthKnown: true });
      }
      if (this.#content.length === 0) await this.#send(0, Buffer.alloc(0), { process: 0, isLengthKnown: true });
      await this.#reap();
    }
    const { state } = await core.find(this.#upload);
    expect(state).toBe('completed');
    expect((await core.objectOf(this.#upload))?.equals(this.#content)).toBe(true);
    for (const deps of this.#processes) await deps.compositions.whenIdle();
    // What was pending is retired by the first, and deleted by the second.
    for (let round = 0; round < 2; round++) {
      await this.#letLeasesRunOut();
      await this.#reap();
    }
    const left = await core.db.query('select 1 from fragments where upload_id = $1', [this.#upload.id]);
    expect(left.rows).toEqual([]);
    const staged = core.deps.store.listObjects({ bucket: core.bucket, prefix: `.partway/${this.#upload.id}/` });
    expect(await Array.fromAsync(staged)).toEqual([]);
    for (const { held, memory, compositions } of this.#processes) {
      await compositions.whenIdle();
      // What another process composed is held here until the memory is wanted.
      expect(memory.usedBytes).toBe(held.bytes);
    }
  }

  async #letLeasesRunOut(): Promise<void> {
    const id = [this.#upload.id];
    await core.db.query(
      "update fragments set lease_until = now() - interval '1 second' where upload_id = $1 and lease_until is not null",
      id,
    );
    await core.db.query(
      "update parts set attempt_until = now() - interval '1 second' where upload_id = $1 and attempt_id is not null",
      id,
    );
    await core.db.query(
      "update uploads set claim_until = now() - interval '1 second' where id = $1 and claim_until is not null",
      id,
    );
    await core.db.query(
      "update uploads set work_due = now() - interval '1 second' where id = $1 and work_due is not null",
      id,
    );
  }

  async #reap(): Promise<void> {
    const onBug = (error: unknown) => {
      throw error;
    };
    await new Reaper(core.deps, { onFault: () => undefined, onBug }).round().catch((error: unknown) => {
      if (!(error instanceof StoreError) && !(error instanceof UploadError)) throw error;
    });
  }
}

/** Refusals and faults that a client meets and tries again after. */
function isPassing({ code, details }: UploadError): boolean {
  return (
    code === 'busy' ||
    code === 'digest_mismatch' ||
    code === 'store_unavailable' ||
    code === 'records_unavailable' ||
    // A repeat that covers a run only in part can't be compared.
    details.conflict === 'unverifiable'
  );
}

function digestsOf(content: Buffer, digest: Digest = 'none'): Digests {
  if (digest === 'none') return {};
  const value = createHash('md5')
    .update(content)
    .update(digest === 'wrong' ? 'wrong' : '')
    .digest('base64');
  return { md5: value };
}

function failing<T>(afterwards: boolean, error: Error): (proceed: () => Promise<T>) => Promise<T> {
  return async (proceed) => {
    if (afterwards) await proceed();
    throw error;
  };
}

function bodyOf(content: Buffer, cutAfter: number | undefined): PassThrough {
  const body = new PassThrough({ highWaterMark: 1_000_000 });
  const end = cutAfter ?? content.length;
  void (async () => {
    for (let at = 0; at < end; at += 777) {
      body.write(Buffer.from(content.subarray(at, Math.min(at + 777, end))));
      await turn();
    }
    if (cutAfter === undefined) body.end();
    else body.destroy(new Error('cut'));
  })();
  return body;
}

test(`${runs} histories`, { timeout: 60_000 + runs * 5_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(history, (played) => new Run(played).play(played.steps)),
    { numRuns: runs, endOnFailure: true },
  );
});
