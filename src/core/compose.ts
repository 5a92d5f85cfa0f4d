import { Readable } from 'node:stream';
import type { Deps } from './deps.ts';
import { combinableAlgorithms, type Digests, type RunningDigest, startDigest } from './digest.ts';
import { UploadError } from './errors.ts';
import { multipartOf, type OpenUpload } from './find.ts';
import { holdSlot } from './hold-slot.ts';
import { finishDigests } from './kept-digests.ts';
import { DisplacedError, type LiveAttempt } from './live-attempts.ts';
import { isUnknownUpload, loseUpload } from './lose.ts';
import { type StoreBody, StoreError } from './object-store.ts';
import { PartBody } from './part-body.ts';
import type { CoveredSlot } from './range-records.ts';
import { combined } from './run-digests.ts';
import { mayPass, storePauseMs, storeTries, tellingFaults, toUploadError } from './store-faults.ts';
import type { Fragment, Part } from './upload.ts';

/**
 * Makes a slot's fragments into its part: the part is stored and recorded, with which they are retired. What this
 * process does not hold any more is read back, and every byte is checked against the fragments' digests on its way.
 * @throws UploadError; DisplacedError where another has the slot, or the upload takes nothing any more
 */
export async function composeSlot(deps: Deps, upload: OpenUpload, slot: CoveredSlot): Promise<void> {
  // The lease began with the call that told of the slot.
  const heldUntilMs = deps.clock.now().getTime() + deps.settings.leaseMs / 2;
  const address = { uploadId: upload.id, partNumber: slot.partNumber, attemptId: slot.attemptId };
  const held = holdSlot(deps, address, heldUntilMs);
  try {
    const part = await storeAgain(deps, upload, slot, held.live);
    const committed = await deps.records.commitRangePart({
      uploadId: upload.id,
      attemptId: slot.attemptId,
      part,
      ...(slot.fragments.length > 1 ? { runs: slot.fragments } : {}),
    });
    if (committed.kind !== 'committed') throw new DisplacedError();
    deps.events.emit({
      type: 'part_stored',
      uploadId: upload.id,
      partNumber: part.partNumber,
      sizeBytes: part.sizeBytes,
    });
  } catch (error) {
    await held.giveBack(error);
    for (const { id } of slot.fragments) deps.held.drop(id);
    const hasMovedOn = isUnknownUpload(error) && !(await loseUpload(deps, upload));
    throw hasMovedOn ? new DisplacedError() : toUploadError(error);
  } finally {
    held.end();
  }
}

/** Deletes what a part has been made of. What fails here is the reaper's. */
export async function deleteComposed(
  deps: Deps,
  bucket: string,
  fragments: readonly Pick<Fragment, 'id' | 'stagingKey'>[],
): Promise<void> {
  for (const { id } of fragments) deps.held.drop(id);
  try {
    await deps.store.deleteObjects({ bucket, keys: fragments.map(({ stagingKey }) => stagingKey) });
    await deps.records.forgetFragments(fragments.map(({ id }) => id));
  } catch (error) {
    if (!(error instanceof StoreError || error instanceof UploadError)) throw error;
  }
}

/** The store's failures that may pass are nobody's: the bytes are here, or can be read back. */
async function storeAgain(deps: Deps, upload: OpenUpload, slot: CoveredSlot, live: LiveAttempt): Promise<Part> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await storePart(deps, upload, slot, live);
    } catch (error) {
      // The failed call may still have the buffers to write: they are sent again, and never freed.
      for (const { id } of slot.fragments) deps.held.disown(id);
      if (!mayPass(error) || attempt === storeTries) throw error;
      await deps.clock.sleep(storePauseMs * attempt, live.signal);
    }
  }
}

async function storePart(deps: Deps, upload: OpenUpload, slot: CoveredSlot, live: LiveAttempt): Promise<Part> {
  const { fragments, partNumber } = slot;
  const sizeBytes = fragments.reduce((sum, fragment) => sum + fragment.sizeBytes, 0);
  const digests = combined(fragments);
  const send = (body: StoreBody) =>
    tellingFaults(deps, 'uploadPart', upload.id, () =>
      deps.store.uploadPart(
        {
          ...multipartOf(upload),
          partNumber,
          body,
          sizeBytes,
        },
        { signal: live.signal },
      ),
    );
  const check = new DigestCheck(digests, `slot ${partNumber}`);
  // All are taken at once: those that are used are not given up meanwhile.
  const held = fragments.map(({ id }) => deps.held.use(id));
  try {
    const { etag } = held.every((chunks) => chunks !== undefined)
      ? await sendHeld(held.flat(), check, live, send)
      : await sendReadBack(bytesOf(deps, upload, fragments, held, live.signal), sizeBytes, check, live, send);
    return { partNumber, offset: fragments[0]?.offset, sizeBytes, etag, digests };
  } finally {
    for (const { id } of fragments) deps.held.letGo(id);
  }
}

async function sendHeld(
  chunks: readonly Buffer[],
  check: DigestCheck,
  live: LiveAttempt,
  send: (body: StoreBody) => Promise<{ etag: string }>,
): Promise<{ etag: string }> {
  for (const digest of check.running) for (const chunk of chunks) digest.update(chunk);
  await check.pass();
  live.seal();
  return send(chunks);
}

async function sendReadBack(
  chunks: AsyncGenerator<Buffer>,
  sizeBytes: number,
  check: DigestCheck,
  live: LiveAttempt,
  send: (body: StoreBody) => Promise<{ etag: string }>,
): Promise<{ etag: string }> {
  const body = new PartBody({
    sizeBytes,
    digests: check.running,
    beforeLast: async () => {
      await check.pass();
      live.seal();
    },
  });
  const source = Readable.from(chunks, { objectMode: false });
  source.on('error', (error) => body.destroy(error));
  source.pipe(body);
  try {
    return await send(body);
  } catch (error) {
    throw source.errored instanceof StoreError ? source.errored : error;
  } finally {
    source.destroy();
    body.destroy();
  }
}

/** Holds bytes against the digests that they must have. */
class DigestCheck {
  readonly running: readonly RunningDigest[];
  readonly #expected: Digests;
  readonly #what: string;

  constructor(expected: Digests, what: string) {
    this.#expected = expected;
    this.#what = what;
    this.running = combinableAlgorithms.filter((name) => expected[name] !== undefined).map(startDigest);
  }

  /** Once all bytes were shown. @throws Error: a bug, or a store that gives back other bytes than it got */
  async pass(): Promise<void> {
    const computed = await finishDigests(this.running);
    const wrong = this.running.find(({ algorithm }) => computed[algorithm] !== this.#expected[algorithm]);
    if (wrong !== undefined)
      throw new Error(`${this.#what}: the fragments' bytes do not match their ${wrong.algorithm}`);
  }
}

async function* bytesOf(
  deps: Deps,
  { id, bucket }: OpenUpload,
  fragments: readonly Fragment[],
  held: readonly (readonly Buffer[] | undefined)[],
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  for (const [index, { stagingKey }] of fragments.entries()) {
    const chunks = held[index];
    if (chunks !== undefined) {
      yield* chunks;
      continue;
    }
    const { body } = await tellingFaults(deps, 'getObject', id, () =>
      deps.store.getObject({ bucket, key: stagingKey }, { signal }),
    );
    yield* body as AsyncIterable<Buffer>;
  }
}
