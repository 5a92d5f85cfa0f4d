import {
  IntegrityError,
  NotAuthorisedError,
  NoUploadError,
  type PartwayError,
  RefusedError,
  TemporaryError,
} from './errors.ts';
import type { HttpAnswer } from './transport/transport.ts';

const temporaryStatuses = new Set([408, 425, 429]);
/** Not Implemented, HTTP Version Not Supported. */
const lastingFaults = new Set([501, 505]);

/** Of an MD5, and MinIO's of a checksum. */
const otherContent = /<Code>(BadDigest|XAmzContentChecksumMismatch)<\/Code>/;

/** Who answered. Of a server that has answered as a gateway before, what stands in for it now will pass. */
export type Answerer = 'store' | { readonly server: string; readonly isKnown: boolean };

/** What an answer that is no success means. */
export function failureOf(answer: HttpAnswer, from: Answerer): PartwayError {
  const { status } = answer;
  const problem = problemOf(answer);
  const code = typeof problem.code === 'string' ? problem.code : `http_${status}`;
  const said = from === 'store' ? `the store answered ${status}` : String(problem.detail ?? `HTTP status ${status}`);
  const details = { code, status, problem };
  if (isPassing(status) || code === 'busy') {
    return new TemporaryError(said, { ...details, retryAfterMs: retryAfterMs(answer), isBreak: status === 408 });
  }
  if (code === 'digest_mismatch' || (from === 'store' && otherContent.test(answer.text))) {
    return new IntegrityError(said, details);
  }
  if (from === 'store') return new RefusedError(said, details);
  if (status === 401 || status === 403) return new NotAuthorisedError(said, details);
  if (code === 'upload_not_found' || code === 'upload_gone') return new NoUploadError(said, details);
  // A proxy that has no gateway behind it just now, or something else altogether.
  if (problem.code === undefined && (status === 404 || status === 410)) {
    const message = `what answers at ${from.server} (with status ${status}) is not a gateway`;
    const foreign = { ...details, code: 'no_gateway' };
    return from.isKnown ? new TemporaryError(message, foreign) : new RefusedError(message, foreign);
  }
  const location = answer.header('location');
  if (status >= 300 && status < 400 && location !== undefined) {
    const message = `${from.server} sends elsewhere, to ${location}: name that server`;
    return new RefusedError(message, { ...details, code: 'redirected' });
  }
  // The gateway's word for a path that it does not have.
  const hint = code === 'not_found' ? ` Is there more in the server's URL, ${from.server}, than there should be?` : '';
  return new RefusedError(said + hint, details);
}

/** Proxies have faults of their own beyond the registered ones: 520 to 530. */
function isPassing(status: number): boolean {
  return temporaryStatuses.has(status) || (status >= 500 && !lastingFaults.has(status));
}

function problemOf({ text }: HttpAnswer): Readonly<Record<string, unknown>> {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {};
  } catch {
    return {};
  }
}

/** RFC 9110, section 10.2.3: seconds, or a date. */
function retryAfterMs(answer: HttpAnswer): number | undefined {
  const field = answer.header('retry-after');
  if (field === undefined) return undefined;
  if (/^\d+$/.test(field)) return Number(field) * 1000;
  const instant = Date.parse(field);
  return Number.isNaN(instant) ? undefined : Math.max(0, instant - Date.now());
}
