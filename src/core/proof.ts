import { tokenMetadataName } from './create.ts';
import type { Deps } from './deps.ts';
import type { CallOptions } from './object-store.ts';
import { tellingFaults } from './store-faults.ts';
import type { Upload } from './upload.ts';

/**
 * The object's ETag if our token and size prove that this very upload made it. An object at the key proves nothing.
 * @throws StoreError
 */
export async function provenEtag(
  deps: Pick<Deps, 'store' | 'events'>,
  upload: Upload,
  options: CallOptions = {},
): Promise<string | undefined> {
  const facts = await tellingFaults(deps, 'headObject', upload.id, () =>
    deps.store.headObject({ bucket: upload.bucket, key: upload.storeKey }, options),
  );
  const isOurs =
    facts?.metadata[tokenMetadataName] === upload.token && facts.sizeBytes === (upload.sizeBytes ?? facts.sizeBytes);
  return isOurs ? facts.etag : undefined;
}
