import type { Deps } from './deps.ts';
import type { Principal } from './principal.ts';
import type { Upload, UploadState } from './upload.ts';
import type { ListCursor } from './upload-records.ts';

export interface UploadPage {
  readonly uploads: readonly Upload[];
  readonly next: ListCursor | undefined;
}

/** The uploads that a principal may see, newest first. */
export function listUploads(
  deps: Pick<Deps, 'records'>,
  principal: Principal,
  filter: {
    readonly state?: UploadState | undefined;
    readonly bucket?: string | undefined;
    readonly keyPrefix?: string | undefined;
  },
  page: { readonly after?: ListCursor | undefined; readonly limit: number },
): Promise<UploadPage> {
  return deps.records.list(
    {
      ...filter,
      tenant: principal.tenant,
      grantedBucket: principal.bucket,
      grantedKeyPrefix: principal.keyPrefix,
    },
    page,
  );
}
