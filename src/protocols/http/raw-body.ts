import type { IncomingMessage } from 'node:http';
import { UploadError } from '../../core/errors.ts';
import { sendContinue } from './continue.ts';

/**
 * The announced length of a body, in bytes.
 * @throws UploadError `length_required`, `invalid_request`
 */
export function contentLengthOf(incoming: IncomingMessage): number {
  const text = incoming.headers['content-length'];
  if (text === undefined) {
    throw new UploadError('length_required', "Send Content-Length: the store must be told a part's length first.");
  }
  const length = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(length)) return length;
  throw new UploadError('invalid_request', 'Content-Length is not a number of bytes.');
}

/** The body's length; `undefined` where it ends when it ends. @throws UploadError `invalid_request` */
export function bodyLengthOf(incoming: IncomingMessage): number | undefined {
  const coding = incoming.headers['transfer-encoding'];
  // Node takes any coding before the last one, and undoes none of them: what is stored would not be what was meant.
  if (coding !== undefined && coding.trim().toLowerCase() !== 'chunked') {
    throw new UploadError('invalid_request', 'Transfer-Encoding can only be chunked.');
  }
  if (coding !== undefined) return undefined;
  return incoming.headers['content-length'] === undefined ? 0 : contentLengthOf(incoming);
}

/** Whether the request says that its body is of this type, whatever the parameters. */
export function hasMediaType({ headers }: IncomingMessage, type: string): boolean {
  const [given = ''] = (headers['content-type'] ?? '').split(';', 1);
  return given.trim().toLowerCase() === type;
}

/**
 * The body as it comes from the socket, never through a web stream, which costs half as much again per byte.
 * From here on the client may send it.
 */
export function rawBodyOf(incoming: IncomingMessage): IncomingMessage {
  // Without a listener a client that goes away is silent.
  incoming.on('error', () => {});
  sendContinue(incoming);
  return incoming;
}

/** Whether the request came with a body, by its headers. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
