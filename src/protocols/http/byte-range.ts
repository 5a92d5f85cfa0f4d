import { UploadError } from '../../core/errors.ts';

/**
 * `Content-Range: bytes A-B/TOTAL` of a request (RFC 9110, section 14.4).
 * @throws UploadError `invalid_request`
 */
export function parseContentRange(text: string): { first: number; last: number; totalBytes: number | undefined } {
  const [, first = '', last = '', total = ''] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(text.trim()) ?? [];
  const range = { first: Number(first), last: Number(last), totalBytes: total === '*' ? undefined : Number(total) };
  const numbers = [range.first, range.last, range.totalBytes ?? 0];
  const isOfForm = first !== '' && numbers.every(Number.isSafeInteger);
  if (isOfForm && range.first <= range.last) return range;
  const message = isOfForm
    ? `Content-Range ends at ${last}, before it begins.`
    : 'Content-Range is not of the form bytes 0-499/1234, or bytes 0-499/* where the total is not known.';
  throw new UploadError('invalid_request', message, { details: { field: 'Content-Range' } });
}

/**
 * The one range of a `Range` header (RFC 9110, section 14.2) as it applies to `sizeBytes`. `undefined`: answer with
 * the whole, as the section allows for several ranges and asks for malformed ones.
 * @throws UploadError `range_not_satisfiable`
 */
export function parseRange(text: string | undefined, sizeBytes: number): { first: number; last: number } | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(text?.trim() ?? '') ?? [];
  if (first === '' && last === '') return undefined;
  const range =
    first === ''
      ? { first: Math.max(0, sizeBytes - Number(last)), last: sizeBytes - 1 }
      : { first: Number(first), last: last === '' ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1) };
  if (first !== '' && last !== '' && Number(last) < Number(first)) return undefined;
  if (range.first < sizeBytes && !(first === '' && Number(last) === 0)) return range;
  throw new UploadError('range_not_satisfiable', `The object has ${sizeBytes} bytes.`, {
    details: { size: sizeBytes },
  });
}
