import { Readable } from 'node:stream';
import type { Deps } from './deps.ts';
import { combineCrcs, type Digests, isCombinable, startDigest } from './digest.ts';
import { UploadError } from './errors.ts';
import type { OpenUpload } from './find.ts';
import { keepLease } from './keep-lease.ts';
import { finishDigests } from './kept-digests.ts';
import { DisplacedError, type LiveAttempt } from './live-attempts.ts';
import { loseUpload } from './lose.ts';
import { PartBody } from './part-body.ts';
import { StoreError } from './ports.ts';
import type { CoveredSlot } from './range-records.ts';
import { mayPass, storePauseMs, storeTries, tellingFaults, toUploadError } from './store-faults.ts';
import type { Fragment, Part } from './upload.ts';

/**
 * Makes a slot's fragments into its part: the part is stored and recorded, then the fragments are deleted. What this
 * process does not hold any more is read back, and every byte is checked against the fragments' digests on its way.
 * @throws UploadError
 */
export async function composeSlot(deps: Deps, upload: OpenUpload, slot: CoveredSlot): Promise<void> {
  const address = { uploadId: upload.id, partNumber: slot.partNumber, attemptId: slot.attemptId };
  // The lease began with the call that told of the slot.
  const heldUntilMs = deps.clock.now().getTime() + deps.settings.leaseMs / 2;
  const live = deps.attempts.begin(slot.attemptId, heldUntilMs);
  const stopRenewing = keepLease(deps, live, (leaseMs) => deps.records.renewAttempt({ ...address, leaseMs }));
  try {
    const part = await storeAgain(deps, upload, slot, live);
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
    const refused = error instanceof StoreError && error.kind !== 'unavailable';
    await deps.records.dropAttempt({ ...address, uncertain: live.isSealed && !refused }).catch(() => undefined);
    for (const { id } of slot.fragments) deps.held.drop(id);
    if (error instanceof StoreError && error.kind === 'no_such_upload') await loseUpload(deps, upload);
    throw toUploadError(error);
  } finally {
    stopRenewing();
    live.end();
  }
  await deleteFragments(deps, upload.bucket, slot.fragments);
}

/** What fails here is the reaper's. */
export async function deleteFragments(
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
  const expected = combinedDigests(fragments);
  const running = Object.keys(expected).filter((name) => isCombinable(name as 'crc32')) as ('crc32' | 'crc32c')[];
  const digests = running.map(startDigest);
  const body = new PartBody({
    sizeBytes,
    digests,
    beforeLast: async () => {
      const computed = await finishDigests(digests);
      const wrong = running.find((algorithm) => computed[algorithm] !== expected[algorithm]);
      if (wrong !== undefined) throw new Error(`slot ${partNumber}: the fragments' bytes do not match their ${wrong}`);
      live.seal();
    },
  });
  const source = Readable.from(bytesOf(deps, upload, fragments, live.signal), { objectMode: false });
  source.on('error', (error) => body.destroy(error));
  source.pipe(body);
  try {
    const { etag } = await tellingFaults(deps, 'uploadPart', upload.id, () =>
      deps.store.uploadPart(
        {
          bucket: upload.bucket,
          key: upload.storeKey,
          storeUploadId: upload.storeUploadId,
          partNumber,
          body,
          sizeBytes,
        },
        { signal: live.signal },
      ),
    );
    return { partNumber, offset: fragments[0]?.offset, sizeBytes, etag, digests: expected };
  } catch (error) {
    throw source.errored instanceof StoreError ? source.errored : error;
  } finally {
    source.destroy();
    body.destroy();
    for (const { id } of fragments) deps.held.letGo(id);
  }
}

/** The digests of the fragments together, by those algorithms that all of them have. */
function combinedDigests(fragments: readonly Fragment[]): Digests {
  const combined: Partial<Record<'crc32' | 'crc32c', string>> = {};
  for (const algorithm of ['crc32', 'crc32c'] as const) {
    const pieces = fragments.flatMap(({ digests, sizeBytes }) => {
      const crc = digests[algorithm];
      return crc === undefined ? [] : [{ crc, sizeBytes }];
    });
    if (pieces.length === fragments.length) combined[algorithm] = combineCrcs(algorithm, pieces);
  }
  return combined;
}

async function* bytesOf(
  deps: Deps,
  { id, bucket }: OpenUpload,
  fragments: readonly Fragment[],
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  // All are taken at once: those that are used are not given up meanwhile.
  const held = fragments.map((fragment) => deps.held.use(fragment.id));
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
