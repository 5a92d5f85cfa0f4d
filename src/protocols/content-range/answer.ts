import type { Deps } from '../../core/deps.ts';
import { type MissingRange, missingRanges } from '../../core/missing-ranges.ts';
import type { Upload } from '../../core/upload.ts';
import type { ProgressJson } from './contract.ts';
import type { Dialect } from './request.ts';

/** More would make the answer to each chunk a long one. */
const mostListed = 100;

/** How far an upload has come, as its client wants to hear it. */
export async function answerUpload(core: Deps, upload: Upload, dialect: Dialect): Promise<Response> {
  const missing = await missingOf(core, upload);
  const headers = {
    'Cache-Control': 'no-store',
    'Upload-Offset': String(upload.offset),
    ...(upload.sizeBytes === undefined ? {} : { 'Upload-Length': String(upload.sizeBytes) }),
  };
  if (dialect === 'nginx' && upload.state !== 'completed') {
    const ranges = receivedRanges(upload, missing);
    return new Response(ranges, {
      status: 201,
      headers: { ...headers, 'Content-Type': 'text/plain', ...(ranges === '' ? {} : { Range: ranges }) },
    });
  }
  return new Response(`${JSON.stringify(bodyOf(upload, missing))}\n`, {
    headers: {
      ...headers,
      'Content-Type': 'application/json',
      ...(upload.offset === 0 ? {} : { Range: `bytes=0-${upload.offset - 1}` }),
      ...(upload.etag === undefined ? {} : { ETag: upload.etag }),
    },
  });
}

function bodyOf(upload: Upload, missing: readonly MissingRange[]): ProgressJson {
  return {
    id: upload.id,
    state: upload.state,
    bucket: upload.bucket,
    key: upload.key,
    size: upload.sizeBytes,
    offset: upload.offset,
    receivedBytes: upload.receivedBytes,
    ...(upload.isConflicted && upload.state === 'open' ? { conflicted: true } : {}),
    missing: missing.map(({ from, to }) => ({ offset: from, ...(to === undefined ? {} : { size: to - from }) })),
    etag: upload.etag,
  };
}

/** Without a look at the records where the bytes came in order. */
async function missingOf(core: Deps, upload: Upload): Promise<readonly MissingRange[]> {
  const { state, offset, receivedBytes, sizeBytes } = upload;
  if (state === 'completed' || offset === sizeBytes) return [];
  if (receivedBytes === offset) return [{ from: offset, to: sizeBytes }];
  return missingRanges(core, upload, { limit: mostListed });
}

/**
 * nginx-upload-module, "Resumable uploads over HTTP", section 2.4: all ranges that were received, in the header and,
 * identical, in the body.
 */
function receivedRanges({ sizeBytes }: Upload, missing: readonly MissingRange[]): string {
  const ranges: string[] = [];
  const add = (from: number, to: number) => {
    if (from < to) ranges.push(`${from}-${to - 1}/${sizeBytes ?? '*'}`);
  };
  let at = 0;
  for (const gap of missing) {
    add(at, gap.from);
    at = gap.to ?? gap.from;
  }
  // What follows the last gap that is listed may have gaps that are not.
  if (sizeBytes !== undefined && missing.length < mostListed) add(at, sizeBytes);
  return ranges.join(',');
}
