import type { Context } from 'hono';
import type { Upload } from '../../core/upload.ts';
import { type WriteRangeInput, writeRange } from '../../core/write-range.ts';
import { rangeBodyBytes } from '../http/admission.ts';
import type { HttpEnv } from '../http/env.ts';
import { rawBodyOf } from '../http/raw-body.ts';
import type { TusDeps } from './front.ts';

/** Appends the body to the upload, as the one writer that it has from now on. @throws as `writeRange` */
export function append(
  c: Context<HttpEnv>,
  { core, admission }: TusDeps,
  upload: Upload,
  chunk: Pick<WriteRangeInput, 'offset' | 'totalBytes' | 'digests'> & {
    readonly bodyBytes: number | undefined;
  },
): Promise<Upload> {
  const { bodyBytes, ...range } = chunk;
  const endsUpload = bodyBytes !== undefined && chunk.offset + bodyBytes === upload.sizeBytes;
  return admission.admit(rangeBodyBytes(bodyBytes), () =>
    writeRange(core, {
      principal: c.get('principal'),
      upload,
      ...range,
      sizeBytes: bodyBytes,
      // What is left of a file says nothing of how its client cuts it.
      chunkSizeBytes: endsUpload ? undefined : bodyBytes,
      mode: 'append',
      isExact: true,
      completes: true,
      body: () => rawBodyOf(c.env.incoming),
    }),
  );
}
