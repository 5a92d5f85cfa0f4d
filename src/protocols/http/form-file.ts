import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { Busboy, type BusboyFileStream, type BusboyInstance } from '@fastify/busboy';
import { ClientGoneError, UploadError } from '../../core/errors.ts';
import { rawBodyOf } from './raw-body.ts';

/** Of a form all that is not its file: fields and headers, which are read and dropped. */
const mostBesidesBytes = 1024 * 1024;
const limits = { fields: 0, files: 1, parts: 1000, headerPairs: 100, headerSize: 16 * 1024 };

/** The parser's own memory may be handed on in pieces so short: whoever stores a buffer may free it. */
const shortBytes = 1024;

export function isForm(headers: IncomingHttpHeaders): boolean {
  return /^multipart\/form-data\s*(;|$)/i.test(headers['content-type'] ?? '');
}

/**
 * The file of a multipart form (RFC 7578), as it comes: the first part that has a filename. Fields are passed over. Its last
 * bytes and its end are withheld until the form has ended as it should and the file has the length that it should have:
 * whoever reads to the end has had all of it. Fails with an `UploadError` or `ClientGoneError`.
 */
export class FormFile extends Readable {
  readonly #incoming: IncomingMessage;
  readonly #sizeBytes: number | undefined;
  readonly #idleMs: number;
  readonly #parser: BusboyInstance;
  readonly #contentType = Promise.withResolvers<string>();
  #tooLate: NodeJS.Timeout | undefined;
  #hasBegun = false;
  #hasFile = false;
  #formBytes = 0;
  #fileBytes = 0;
  #last: Buffer | undefined;

  /**
   * @param options.sizeBytes how long the file must be; `undefined`: until it ends
   * @throws UploadError `invalid_request` where Content-Type names no boundary
   */
  constructor(incoming: IncomingMessage, options: { readonly sizeBytes: number | undefined; readonly idleMs: number }) {
    super();
    this.#incoming = incoming;
    this.#sizeBytes = options.sizeBytes;
    this.#idleMs = options.idleMs;
    this.#parser = parserOf(incoming.headers)
      .on('file', (_name, stream, _filename, encoding, contentType) => this.#onFile(stream, encoding, contentType))
      .on('filesLimit', () => this.destroy(malformed('The form has more than one file: send each by itself.')))
      .on('partsLimit', () => this.destroy(tooMuch(`A form may have ${limits.parts} parts at most.`, limits.parts)))
      .on('error', () => this.destroy(malformed('The body is not a multipart form, or not a whole one.')))
      .on('finish', () => this.#onFormEnd());
    // Both are told to whoever reads, or asks; nobody need.
    this.on('error', () => undefined);
    this.#contentType.promise.catch(() => undefined);
  }

  /** What the form says of the file. To know it, the form is begun: from here on the client may send it. */
  contentType(): Promise<string> {
    this.#begin();
    return this.#contentType.promise;
  }

  override _read(): void {
    this.#begin();
    this.#incoming.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearTimeout(this.#tooLate);
    this.#last = undefined;
    this.#contentType.reject(error ?? new ClientGoneError('the form was left unread'));
    if (this.#hasBegun) {
      this.#incoming.off('data', this.#onData);
      this.#incoming.off('end', this.#onEnd);
      this.#incoming.off('close', this.#onClose);
      this.#incoming.pause();
    }
    callback(error);
  }

  #begin(): void {
    if (this.#hasBegun || this.destroyed) return;
    this.#hasBegun = true;
    // Once there is a file, whoever reads it watches the client.
    this.#tooLate = setTimeout(() => this.destroy(tooSlow(this.#idleMs)), this.#idleMs);
    const body = rawBodyOf(this.#incoming);
    body.on('data', this.#onData);
    body.on('end', this.#onEnd);
    body.on('close', this.#onClose);
    if (body.destroyed) this.#onClose();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#formBytes += chunk.length;
    this.#parser.write(chunk);
    if (this.#formBytes - this.#fileBytes > mostBesidesBytes) {
      this.destroy(tooMuch(`A form may have ${mostBesidesBytes} bytes besides its file at most.`, mostBesidesBytes));
    }
  };

  readonly #onEnd = (): void => {
    this.#parser.end();
  };

  readonly #onClose = (): void => {
    if (!this.#incoming.readableEnded) {
      this.destroy(new ClientGoneError('the client closed its connection in a form'));
    }
  };

  #onFile(stream: BusboyFileStream, encoding: string, contentType: string): void {
    clearTimeout(this.#tooLate);
    // RFC 7578, section 4.7: senders should not encode; what does would become the object.
    if (!/^(7bit|8bit|binary)$/.test(encoding)) {
      this.destroy(new UploadError('unsupported', 'Send the file of a form as it is, not encoded.'));
      return;
    }
    this.#hasFile = true;
    this.#contentType.resolve(contentType);
    // What ends it early is an error of the parser, too.
    stream.on('error', () => undefined);
    stream.on('data', (piece: Buffer) => this.#onPiece(piece));
  }

  #onPiece(piece: Buffer): void {
    if (this.destroyed) return;
    this.#fileBytes += piece.length;
    const left = (this.#sizeBytes ?? Number.POSITIVE_INFINITY) - this.#fileBytes;
    const own = piece.length < shortBytes ? Buffer.from(piece) : piece;
    if (left < 0) this.destroy(malformed(`The range has ${this.#sizeBytes} bytes, the file of the form more.`));
    else if (left === 0) this.#last = own;
    else if (!this.push(own)) this.#incoming.pause();
  }

  #onFormEnd(): void {
    if (this.destroyed) return;
    if (!this.#hasFile) {
      this.destroy(malformed('The form has no file: no part of it has a filename.'));
    } else if (this.#sizeBytes !== undefined && this.#fileBytes < this.#sizeBytes) {
      this.destroy(malformed(`The range has ${this.#sizeBytes} bytes, the file of the form ${this.#fileBytes}.`));
    } else {
      if (this.#last !== undefined) this.push(this.#last);
      this.push(null);
    }
  }
}

function parserOf(headers: IncomingHttpHeaders): BusboyInstance {
  try {
    return new Busboy({
      headers: { ...headers, 'content-type': headers['content-type'] ?? '' },
      limits,
      isPartAFile: (_name, _contentType, filename) => filename !== undefined,
    });
  } catch {
    throw new UploadError('invalid_request', 'Content-Type names no boundary that a form can have.', {
      details: { field: 'Content-Type' },
    });
  }
}

function malformed(message: string): UploadError {
  return new UploadError('invalid_request', message);
}

function tooMuch(message: string, limit: number): UploadError {
  return new UploadError('limit_exceeded', message, { details: { limit } });
}

function tooSlow(idleMs: number): UploadError {
  return new UploadError('body_timeout', `No file came in the form for ${idleMs / 1000} seconds.`);
}
