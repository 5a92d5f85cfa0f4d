import { createMD5, type IHasher } from 'hash-wasm';
import type { DigestChainState } from './range-records.ts';

/**
 * The MD5 of an upload that grows in order, from request to request: Node's own hashes can't be saved. Other than the
 * bytes that it has taken it knows nothing; bytes that it has taken already are passed over.
 */
export interface RunningMd5 {
  /**
   * Takes the bytes of the chunk that begins at this offset, from where it stands.
   * @returns false where bytes between are missing: from then on it takes nothing and has nothing to save
   */
  feed(offset: number, chunk: Buffer): boolean;
  /**
   * The MD5 of the bytes from zero to `endsAt`, to go on from. It holds up to 63 of those bytes as they are: it is as
   * secret as they.
   */
  save(): DigestChainState | undefined;
}

/** One for all: its state is put in and taken out around each chunk, which costs 1 % for chunks of 64 KiB. */
let hasher: Promise<IHasher> | undefined;

function loadHasher(): Promise<IHasher> {
  hasher ??= createMD5();
  return hasher;
}

/** Starts from what was saved, or from the first byte. What another build of the hash saved counts as broken. */
export async function startMd5(saved?: DigestChainState): Promise<RunningMd5> {
  const md5 = await loadHasher();
  let state: Uint8Array | undefined = saved === undefined ? md5.init().save() : stateOf(md5, saved);
  let endsAt = saved?.endsAt ?? 0;
  return {
    feed: (offset, chunk) => {
      if (state === undefined || offset > endsAt) {
        state = undefined;
        return false;
      }
      const news = chunk.subarray(endsAt - offset);
      if (news.length === 0) return true;
      state = md5.load(state).update(news).save();
      endsAt += news.length;
      return true;
    },
    save: () => (state === undefined ? undefined : { endsAt, state: Buffer.from(state).toString('base64') }),
  };
}

/**
 * The MD5 that a saved state has come to.
 * @returns base64; `undefined` where another build of the hash saved it
 */
export async function md5Of(saved: DigestChainState): Promise<string | undefined> {
  const md5 = await loadHasher();
  const state = stateOf(md5, saved);
  return state && Buffer.from(md5.load(state).digest('binary')).toString('base64');
}

function stateOf(md5: IHasher, { state }: DigestChainState): Uint8Array | undefined {
  const bytes = Buffer.from(state, 'base64');
  try {
    md5.load(bytes);
    return bytes;
  } catch {
    return undefined;
  }
}
