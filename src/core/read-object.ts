import type { Readable } from 'node:stream';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { placeOf } from './limits.ts';
import type { ByteRange, ObjectFacts } from './object-store.ts';
import type { Principal } from './principal.ts';
import { toUploadError } from './store-faults.ts';
import { withinStoreWait } from './store-wait.ts';

export interface ObjectPlace {
  readonly principal: Principal;
  readonly key: string;
  readonly bucket?: string | undefined;
}

/** @throws UploadError `object_not_found`, `store_*` */
export async function lookAtObject(deps: Deps, input: ObjectPlace): Promise<ObjectFacts> {
  const { bucket, storeKey } = placeOf({ bucket: input.bucket, key: input.key }, input.principal, deps.settings);
  try {
    const facts = await withinStoreWait(deps, [deps.halted], (options) =>
      deps.store.headObject({ bucket, key: storeKey }, options),
    );
    if (facts !== undefined) return facts;
  } catch (error) {
    throw toUploadError(error);
  }
  throw new UploadError('object_not_found', 'There is no such object.');
}

/**
 * The object's content or a range of it. The caller reads `body` to its end or destroys it.
 * @throws UploadError `object_not_found`, `range_not_satisfiable`, `store_*`
 */
export async function readObject(
  deps: Deps,
  input: ObjectPlace & { readonly range?: ByteRange | undefined; readonly signal: AbortSignal },
): Promise<ObjectFacts & { body: Readable }> {
  const { bucket, storeKey } = placeOf({ bucket: input.bucket, key: input.key }, input.principal, deps.settings);
  try {
    return await withinStoreWait(deps, [input.signal], (options) =>
      deps.store.getObject({ bucket, key: storeKey, range: input.range }, options),
    );
  } catch (error) {
    throw toUploadError(error);
  }
}
