import { combinableAlgorithms, startDigest } from './digest.ts';
import { UploadError } from './errors.ts';
import type { Run } from './upload.ts';

/** Gives back some of the bytes of a run, from one offset to another; `undefined` where nobody can. */
export type ReadBack = (run: Run, from: number, to: number) => AsyncIterable<Buffer> | undefined;

/**
 * Holds bytes against what is stored at their place: by the digests of the runs, and where a run reaches beyond them by
 * its bytes.
 * @param at the offset of the first of the bytes
 * @param passesTo runs before this offset are passed over where they can't be compared
 * @throws UploadError `state_conflict` where they differ, or where a run reaches beyond them and can't be read back
 */
export async function requireSameBytes(
  runs: readonly Run[],
  at: number,
  chunks: readonly Buffer[],
  readBack: ReadBack,
  passesTo = 0,
): Promise<void> {
  const end = at + chunks.reduce((sum, { length }) => sum + length, 0);
  for (const run of runs) {
    const runEnd = run.offset + run.sizeBytes;
    if (runEnd <= at || run.offset >= end) continue;
    const [from, to] = [Math.max(run.offset, at), Math.min(runEnd, end)];
    const ours = slice(chunks, from - at, to - at);
    if (from === run.offset && to === runEnd) {
      await compareRun(run, (see) => {
        for (const chunk of ours) see(chunk);
      });
    } else {
      const theirs = readBack(run, from, to);
      if (theirs === undefined && run.offset < passesTo) continue;
      if (theirs === undefined) throw unverifiableError(run);
      if (!(await isSame(Buffer.concat([...ours]), theirs))) throw differsError({ offset: from, sizeBytes: to - from });
    }
  }
}

async function isSame(ours: Buffer, theirs: AsyncIterable<Buffer>): Promise<boolean> {
  let at = 0;
  for await (const chunk of theirs) {
    if (!chunk.equals(ours.subarray(at, at + chunk.length))) return false;
    at += chunk.length;
  }
  return at === ours.length;
}

/**
 * The same for the bytes of one run, as `pass` shows them.
 * @throws UploadError `state_conflict`
 */
export async function compareRun(
  run: Run,
  pass: (see: (chunk: Buffer) => void) => Promise<void> | void,
): Promise<void> {
  const algorithm = combinableAlgorithms.find((name) => run.digests[name] !== undefined);
  if (algorithm === undefined) throw unverifiableError(run);
  const digest = startDigest(algorithm);
  await pass((chunk) => digest.update(chunk));
  if ((await digest.finish()) !== run.digests[algorithm]) throw differsError(run);
}

/** Some of the bytes that lie one behind the other in several buffers. `to` is not included. */
export function* slice(chunks: readonly Buffer[], from: number, to: number): Generator<Buffer> {
  let at = 0;
  for (const chunk of chunks) {
    const start = Math.max(from - at, 0);
    const end = Math.min(to - at, chunk.length);
    if (start < end) yield chunk.subarray(start, end);
    at += chunk.length;
  }
}

export function differsError(run: { readonly offset: number; readonly sizeBytes: number }): UploadError {
  const last = run.offset + run.sizeBytes - 1;
  return new UploadError('state_conflict', `Other bytes are stored from ${run.offset} to ${last}.`, {
    details: { conflict: 'differs', first: run.offset, last },
  });
}

export function unverifiableError(run: Run): UploadError {
  const last = run.offset + run.sizeBytes - 1;
  return new UploadError(
    'state_conflict',
    `Bytes ${run.offset} to ${last} are stored as one piece: a repeat of a part of them can't be compared. Ask what is missing, and send that.`,
    { details: { conflict: 'unverifiable', first: run.offset, last } },
  );
}

/** Whether the bytes were seen to differ: what can't be compared need not. */
export function isDiffering(error: unknown): error is UploadError {
  return error instanceof UploadError && error.details.conflict === 'differs';
}
