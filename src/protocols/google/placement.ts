import { UploadError } from '../../core/errors.ts';

/** Bytes of the object, and their place in it. */
export interface Data {
  readonly kind: 'data';
  readonly offset: number;
  /** The body's length; `undefined`: until it ends. */
  readonly sizeBytes: number | undefined;
  readonly totalBytes: number | undefined;
  /** The end of the body is the end of the object. */
  readonly endsUpload: boolean;
  /** How many bytes this client sends in each request, where this request tells. */
  readonly chunkSizeBytes: number | undefined;
}

/** No bytes: how much is held? */
export interface Question {
  readonly kind: 'question';
  /** The size of the whole, where it is told. */
  readonly totalBytes: number | undefined;
}

/** What a PUT to a session brings. */
export type Placement = Data | Question;

/**
 * @param contentLength `undefined` with `Transfer-Encoding: chunked`
 * @throws UploadError `invalid_request`
 */
export function placementOf(contentRange: string | undefined, contentLength: number | undefined): Placement {
  // All in one request: the body is the object.
  if (contentRange === undefined) return toTheEnd(0, contentLength, contentLength);
  const [, range = '', total = ''] = /^bytes (\*|\d+-(?:\*|-?\d+))\/(\d+|\*)$/.exec(contentRange.trim()) ?? [];
  const totalBytes = total === '*' ? undefined : Number(total);
  if (range === '' || !isOffset(totalBytes ?? 0)) throw malformed();
  // `bytes */OBJECT_SIZE`, or `bytes */*` where the size is unknown: a status check.
  if (range === '*') return question(totalBytes, contentLength);
  const [, first = '', last = ''] = /^(\d+)-(.*)$/.exec(range) ?? [];
  const offset = Number(first);
  if (!isOffset(offset) || offset > (totalBytes ?? offset)) throw malformed();
  if (last === '*') return toTheEnd(offset, contentLength, totalBytes);
  return chunk(offset, Number(last), contentLength, totalBytes);
}

/** `A-*`: everything to the end of the body. Where nobody names the size, the object ends there. */
function toTheEnd(offset: number, sizeBytes: number | undefined, totalBytes: number | undefined): Placement {
  const end = sizeBytes === undefined ? undefined : offset + sizeBytes;
  if (end !== undefined && end > (totalBytes ?? end)) throw contradiction();
  const whole = totalBytes ?? end;
  return {
    kind: 'data',
    offset,
    sizeBytes,
    totalBytes: whole,
    endsUpload: whole === undefined,
    chunkSizeBytes: undefined,
  };
}

function chunk(
  first: number,
  last: number,
  contentLength: number | undefined,
  totalBytes: number | undefined,
): Placement {
  const sizeBytes = last - first + 1;
  // Node's client with `chunkSize` and nothing (more) to send: "bytes 0--1/0", "bytes 100-99/100".
  if (sizeBytes === 0) return question(totalBytes, contentLength);
  const end = last + 1;
  if (!isOffset(last) || sizeBytes < 0) throw malformed();
  if (sizeBytes !== (contentLength ?? sizeBytes) || end > (totalBytes ?? end)) throw contradiction();
  // The last chunk is as long as what is left.
  const isLast = end === totalBytes;
  return {
    kind: 'data',
    offset: first,
    sizeBytes,
    totalBytes,
    endsUpload: false,
    chunkSizeBytes: isLast ? undefined : sizeBytes,
  };
}

function question(totalBytes: number | undefined, contentLength: number | undefined): Placement {
  if (contentLength !== 0) throw contradiction();
  return { kind: 'question', totalBytes };
}

function isOffset(number: number): boolean {
  return Number.isSafeInteger(number) && number >= 0;
}

function malformed(): UploadError {
  return new UploadError(
    'invalid_request',
    'Content-Range is not of the form bytes 0-262143/1000000 (or /*), bytes 0-*/*, or bytes */*.',
  );
}

function contradiction(): UploadError {
  return new UploadError('invalid_request', 'Content-Range does not fit the length of the body, or the total.');
}
