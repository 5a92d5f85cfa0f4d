import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { notFoundError } from './find.ts';
import { type PlannedLayout, planLayout } from './layout.ts';
import type { Upload } from './upload.ts';

export type PlannedUpload = Upload & { readonly layout: PlannedLayout };

/** The upload with its layout decided, by this call where none was. First writers at once agree on one. */
export async function decideLayout<T extends Upload>(
  deps: Pick<Deps, 'records' | 'store'>,
  upload: T,
  hint: { readonly chunkSizeBytes?: number | undefined; readonly totalBytes?: number | undefined } = {},
): Promise<T> {
  if (upload.layout.kind !== 'undecided') return upload;
  const { chunkSizeBytes, totalBytes } = hint;
  const layout = planLayout({ sizeBytes: upload.sizeBytes ?? totalBytes, chunkSizeBytes }, deps.store.limits);
  const decided = await deps.records.decideLayout(upload.id, layout);
  if (decided === undefined) throw notFoundError();
  return { ...upload, layout: decided.layout };
}

/** The upload in the layout that it gets if the next to write says nothing of its chunks. */
export function foreseen({ store }: Pick<Deps, 'store'>, upload: Upload): Upload {
  const { layout, sizeBytes } = upload;
  return layout.kind === 'undecided' ? { ...upload, layout: planLayout({ sizeBytes }, store.limits) } : upload;
}

/** @throws UploadError `state_conflict` in the free layout, whose bytes have no place but their part */
export function requirePlanned(upload: Upload): PlannedUpload {
  const { layout } = upload;
  if (layout.kind === 'planned') return { ...upload, layout };
  throw new UploadError('state_conflict', 'In the free layout bytes come as numbered parts only.', {
    details: { conflict: 'layout' },
  });
}
