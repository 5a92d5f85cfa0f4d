import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { UploadError } from '../../core/errors.ts';
import { parseContentRange } from '../http/byte-range.ts';
import { isForm } from '../http/form-file.ts';
import { bodyLengthOf } from '../http/raw-body.ts';

/** What a request wants of an upload. Sizes and offsets are bytes. */
export type RangeRequest =
  /** No range: the body is the whole object. */
  | { readonly kind: 'whole'; readonly sizeBytes: number | undefined }
  /** Where to go on. */
  | { readonly kind: 'query'; readonly totalBytes: number | undefined }
  | {
      readonly kind: 'chunk';
      readonly offset: number;
      readonly sizeBytes: number;
      readonly totalBytes: number | undefined;
      /** How many bytes this client sends in each request, where the range tells. */
      readonly chunkSizeBytes: number | undefined;
    };

/** nginx-upload-module's clients want other answers than the rest. */
export type Dialect = 'plain' | 'nginx';

export function dialectOf(headers: IncomingHttpHeaders): Dialect {
  const isNginx = headers['x-content-range'] !== undefined || sessionHeaderOf(headers) !== undefined;
  return isNginx ? 'nginx' : 'plain';
}

/** The session's id as it is kept, apart from every other front's. */
export function sessionHashOf(headers: IncomingHttpHeaders, query: string | undefined): Buffer | undefined {
  const id = query ?? sessionHeaderOf(headers);
  return id === undefined ? undefined : createHash('sha256').update(`content-range session ${id}`).digest();
}

function sessionHeaderOf(headers: IncomingHttpHeaders): string | undefined {
  const id = headers['x-session-id'] ?? headers['session-id'];
  return id === undefined ? undefined : String(id);
}

/** @throws UploadError `invalid_request`, `range_not_satisfiable`, `unsupported`, before a byte of the body is read */
export function parseRequest(incoming: IncomingMessage): RangeRequest {
  const { headers } = incoming;
  refuseEnvelopes(headers);
  const range = rangeFieldOf(headers);
  const bodyBytes = bodyLengthOf(incoming);
  const inForm = isForm(headers);
  if (range === undefined) return { kind: 'whole', sizeBytes: inForm ? undefined : bodyBytes };
  const [, total] = /^bytes \*\/(\d+|\*)$/.exec(range) ?? [];
  return total === undefined ? parseChunk(range, bodyBytes, inForm) : parseQuery(total, bodyBytes);
}

function rangeFieldOf(headers: IncomingHttpHeaders): string | undefined {
  const own = headers['x-content-range'];
  const standard = headers['content-range']?.trim();
  if (own === undefined) return standard;
  const range = String(own).trim();
  if (standard === undefined || standard === range) return range;
  throw rangeError('Content-Range and X-Content-Range say different things.');
}

function parseQuery(total: string, bodyBytes: number | undefined): RangeRequest {
  if (bodyBytes !== 0) throw rangeError(`bytes */${total} asks where to go on: send it with an empty body.`);
  const totalBytes = total === '*' ? undefined : Number(total);
  if (totalBytes !== undefined && !Number.isSafeInteger(totalBytes)) throw rangeError('The total is out of reach.');
  return { kind: 'query', totalBytes };
}

/**
 * The last byte position may lie beyond the whole, as scripts send it for their last chunk: the body's length counts. How
 * much longer a form is than its file only its end tells.
 */
function parseChunk(range: string, bodyBytes: number | undefined, inForm: boolean): RangeRequest {
  const { first, last, totalBytes } = parseContentRange(range);
  if (totalBytes !== undefined && first >= totalBytes) {
    throw new UploadError('range_not_satisfiable', `The range begins at ${first}, the whole has ${totalBytes} bytes.`, {
      details: { size: totalBytes },
    });
  }
  const spanBytes = last - first + 1;
  const sizeBytes = Math.min(spanBytes, (totalBytes ?? Number.POSITIVE_INFINITY) - first);
  if (bodyBytes !== undefined && (inForm ? bodyBytes <= sizeBytes : bodyBytes !== sizeBytes)) {
    const within = sizeBytes < spanBytes ? ` before the end of the whole, ${totalBytes}` : '';
    throw rangeError(`The range has ${sizeBytes} bytes${within}, the body ${bodyBytes}.`);
  }
  const isCutByClient = first > 0 && last + 1 === totalBytes;
  return { kind: 'chunk', offset: first, sizeBytes, totalBytes, chunkSizeBytes: isCutByClient ? undefined : spanBytes };
}

/** Envelopes and chunk headers of other protocols would become bytes of the object. */
function refuseEnvelopes(headers: IncomingHttpHeaders): void {
  if (/^multipart\//i.test(headers['content-type'] ?? '') && !isForm(headers)) {
    throw new UploadError('unsupported', 'Send the bytes as they are, or as the file of a multipart/form-data.', {
      details: { field: 'Content-Type' },
    });
  }
  const isEncoded = headers['content-encoding']?.toLowerCase().includes('aws-chunked') ?? false;
  const isStreamed = String(headers['x-amz-content-sha256'] ?? '').startsWith('STREAMING-');
  if (isEncoded || isStreamed) {
    throw new UploadError('unsupported', 'Send the plain bytes, not aws-chunked.', {
      details: { field: 'Content-Encoding' },
    });
  }
}

function rangeError(message: string): UploadError {
  return new UploadError('invalid_request', message, { details: { field: 'Content-Range' } });
}

/** A content type, where the client meant one: HTTP tools set that of forms by themselves. */
export function meantType(stated: string | undefined): string | undefined {
  const type = stated?.trim() ?? '';
  const isMeant = /^[\x21-\x7e]+\/[\x21-\x7e]+(;[\x20-\x7e]*)?$/.test(type) && type.length <= 255;
  return isMeant && !type.toLowerCase().startsWith('application/x-www-form-urlencoded') ? type : undefined;
}
