import type { CreateJson, PartJson, PartListJson, SignedPartsJson, UploadJson, UploadListJson } from './contract.ts';
import { InterruptedError, isPartwayError, TemporaryError, UsageError } from './errors.ts';
import { failureOf } from './failure-of.ts';
import type { ServerOptions } from './options.ts';
import { serverOf } from './server-url.ts';
import { isPart, isPartList, isProgress, isSignedList, isUpload, isUploadList, parseAs, type Shape } from './shapes.ts';
import { type HttpAnswer, LineError, type RequestBody, type Transport } from './transport/transport.ts';
import { orStopped } from './wait.ts';

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** In place of the client's. */
  readonly timeoutMs?: number | undefined;
}

/** Missing bytes of an upload, as a range. */
export interface Gap {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** A body on its way. */
export interface SendOptions extends CallOptions {
  readonly onSent?: ((bytes: number) => void) | undefined;
  /** RFC 9530: held against what arrives. */
  readonly digest?: string | undefined;
}

const never = new AbortController().signal;
const usualTimeoutMs = 60_000;

/**
 * The gateway's REST contract, call by call. Nothing is repeated: `upload` does that.
 * Every call throws a PartwayError: TemporaryError where the same may succeed later.
 */
export class PartwayClient {
  readonly server: string;
  readonly timeoutMs: number;
  readonly #apiKey: ServerOptions['apiKey'];
  readonly #transport: Transport;
  /** A gateway has answered. */
  #isKnown = false;

  /** @throws UsageError */
  constructor(options: ServerOptions, transport: Transport) {
    this.server = serverOf(options.server);
    this.timeoutMs = options.timeoutMs ?? usualTimeoutMs;
    if (typeof options.apiKey === 'string') requireKey(options.apiKey);
    this.#apiKey = options.apiKey;
    this.#transport = transport;
  }

  create(body: CreateJson, options: CallOptions & { readonly idempotencyKey?: string } = {}): Promise<UploadJson> {
    const headers = options.idempotencyKey === undefined ? {} : { 'Idempotency-Key': options.idempotencyKey };
    return this.#json(isUpload, 'POST', '/uploads', options, body, headers);
  }

  look(uploadId: string, options: CallOptions = {}): Promise<UploadJson> {
    return this.#json(isUpload, 'GET', pathOf(uploadId), options);
  }

  /** One page, newest first. */
  listPage(
    query: {
      readonly state?: string | undefined;
      readonly prefix?: string | undefined;
      readonly bucket?: string | undefined;
      readonly limit?: number | undefined;
      readonly cursor?: string | undefined;
    } = {},
    options: CallOptions = {},
  ): Promise<UploadListJson> {
    const given = Object.entries(query).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)] as [string, string]],
    );
    const search = new URLSearchParams(given).toString();
    return this.#json(isUploadList, 'GET', `/uploads${search === '' ? '' : `?${search}`}`, options);
  }

  /** What is stored and what is missing, page by page. */
  async *listParts(uploadId: string, options: CallOptions = {}): AsyncGenerator<PartListJson> {
    let after: number | undefined = 0;
    while (after !== undefined) {
      const page: PartListJson = await this.#json(
        isPartList,
        'GET',
        `${pathOf(uploadId)}/parts?after=${after}`,
        options,
      );
      yield page;
      after = page.nextAfter;
    }
  }

  putPart(uploadId: string, partNumber: number, body: RequestBody, options: SendOptions = {}): Promise<PartJson> {
    return this.#send(isPart, `${pathOf(uploadId)}/parts/${partNumber}`, body, {}, options);
  }

  /** Bytes at their offset, of any size. `totalBytes` is `undefined` where it is not known yet. */
  async putRange(
    uploadId: string,
    offset: number,
    totalBytes: number | undefined,
    body: RequestBody,
    options: SendOptions = {},
  ): Promise<void> {
    const range = `bytes ${offset}-${offset + body.sizeBytes - 1}/${totalBytes ?? '*'}`;
    await this.#send(isProgress, pathOf(uploadId), body, { 'Content-Range': range }, options);
  }

  /** Ranges that are not durable. Nothing is completed by asking. */
  async missingRanges(uploadId: string, options: CallOptions = {}): Promise<readonly Gap[]> {
    const { missing } = await this.#json<{ missing: { offset: number; size?: number }[] }>(
      isProgress,
      'PUT',
      pathOf(uploadId),
      options,
      undefined,
      { 'Content-Range': 'bytes */*', 'Content-Length': '0' },
    );
    const isAll = missing.length < mostRangesTold;
    // What lies behind the last range that was told counts as missing: at worst it is sent again, and compared.
    return missing.map(({ offset, size }, index) => ({
      offset,
      sizeBytes: size === undefined || (!isAll && index === missing.length - 1) ? Number.POSITIVE_INFINITY : size,
    }));
  }

  sign(
    uploadId: string,
    partNumber: number,
    digest: string,
    options: CallOptions = {},
  ): Promise<SignedPartsJson['parts'][number] | undefined> {
    const body = { partNumbers: [partNumber], checksums: { [partNumber]: digest } };
    return this.#json<SignedPartsJson>(isSignedList, 'POST', `${pathOf(uploadId)}/parts/sign`, options, body).then(
      ({ parts }) => parts[0],
    );
  }

  report(
    uploadId: string,
    parts: readonly { partNumber: number; etag: string; size: number; checksum: string }[],
    options: CallOptions = {},
  ): Promise<UploadJson> {
    return this.#json(isUpload, 'POST', `${pathOf(uploadId)}/parts`, options, { parts });
  }

  /** @throws TemporaryError while the gateway is still at it */
  async complete(
    uploadId: string,
    body: { readonly size?: number; readonly digest?: string } = {},
    options: CallOptions = {},
  ): Promise<UploadJson> {
    const upload = await this.#json<UploadJson>(isUpload, 'POST', `${pathOf(uploadId)}/complete`, options, body);
    if (upload.id !== uploadId) throw this.#notAGateway();
    if (upload.state === 'completed') return upload;
    throw new TemporaryError('the gateway is still completing', { code: 'busy', retryAfterMs: 1000 });
  }

  async abort(uploadId: string, options: CallOptions = {}): Promise<void> {
    await this.#ask('DELETE', pathOf(uploadId), options);
  }

  /** Straight to the store, by a signed URL. The part's ETag, and the CRC-32 that the store says it has checked. */
  async putSigned(
    signed: SignedPartsJson['parts'][number],
    body: RequestBody,
    options: SendOptions = {},
  ): Promise<{ readonly etag: string; readonly checksum: string | undefined }> {
    const { url, headers } = signed;
    const answer = await this.#exchange({ method: 'PUT', url, headers: { ...headers }, body, options });
    const etag = answer.header('etag');
    if (answer.status !== 200) throw failureOf(answer, 'store');
    const crc = answer.header('x-amz-checksum-crc32');
    if (etag !== undefined) return { etag, checksum: crc === undefined ? undefined : `crc32=:${crc}:` };
    throw new TemporaryError('the store told no ETag (a browser wants it exposed by CORS)', { code: 'no_etag' });
  }

  async #send<T>(
    shape: Shape,
    path: string,
    body: RequestBody,
    extra: Readonly<Record<string, string>>,
    options: SendOptions,
  ): Promise<T> {
    const headers = {
      'Content-Type': 'application/octet-stream',
      ...extra,
      ...(options.digest === undefined ? {} : { 'Content-Digest': options.digest }),
    };
    return this.#read(shape, await this.#ask('PUT', path, options, headers, body));
  }

  async #json<T>(
    shape: Shape,
    method: string,
    path: string,
    options: CallOptions,
    content?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    if (content === undefined) return this.#read(shape, await this.#ask(method, path, options, headers));
    const bytes = new TextEncoder().encode(JSON.stringify(content));
    const body = { sizeBytes: bytes.length, pieces: () => once(bytes) };
    const all = { ...headers, 'Content-Type': 'application/json' };
    return this.#read(shape, await this.#ask(method, path, options, all, body));
  }

  async #ask(
    method: string,
    path: string,
    options: SendOptions,
    extra: Readonly<Record<string, string>> = {},
    body?: RequestBody,
  ): Promise<HttpAnswer> {
    const key = await this.#keyNow(options.signal ?? never);
    const headers = {
      Accept: 'application/json',
      ...extra,
      ...(key === undefined || key === '' ? {} : { Authorization: `Bearer ${key}` }),
    };
    const answer = await this.#exchange({ method, url: this.server + path, headers, body, options });
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw failureOf(answer, { server: this.server, isKnown: this.#isKnown });
  }

  /** @throws UsageError, and the signal's reason */
  async #keyNow(signal: AbortSignal): Promise<string | undefined> {
    if (typeof this.#apiKey !== 'function') return this.#apiKey;
    const key = await orStopped(Promise.resolve(this.#apiKey()), signal).catch((error: unknown) => {
      throw meaningOf(error, signal);
    });
    requireKey(key);
    return key;
  }

  #notAGateway(status?: number): TemporaryError {
    return new TemporaryError(`what answers at ${this.server} is not a gateway`, { code: 'no_gateway', status });
  }

  #read<T>(shape: Shape, { text, status }: HttpAnswer): T {
    const body = parseAs(text, shape);
    if (body === undefined) throw this.#notAGateway(status);
    this.#isKnown = true;
    return body as T;
  }

  async #exchange(input: {
    readonly method: string;
    readonly url: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: RequestBody | undefined;
    readonly options: SendOptions;
  }): Promise<HttpAnswer> {
    const { signal = never, timeoutMs = this.timeoutMs, onSent } = input.options;
    let sentBytes = 0;
    try {
      signal.throwIfAborted();
      return await this.#transport({
        ...input,
        signal,
        timeoutMs,
        onSent: (bytes) => {
          sentBytes += bytes;
          onSent?.(bytes);
        },
      });
    } catch (error) {
      if (!(error instanceof LineError)) throw meaningOf(error, signal);
      throw new TemporaryError(`${new URL(input.url).host}: ${error.message}`, {
        code: 'line',
        cause: error,
        isBreak: sentBytes > 0 || error.isBlind,
      });
    }
  }
}

/** The gateway names so many at most. */
const mostRangesTold = 100;

function pathOf(uploadId: string): string {
  return `/uploads/${encodeURIComponent(uploadId)}`;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Whose signal it was that ended a call need not know our errors. */
function meaningOf(error: unknown, signal: AbortSignal): unknown {
  if (!signal.aborted || error !== signal.reason || isPartwayError(error)) return error;
  return new InterruptedError({ cause: error });
}

/** @throws UsageError */
function requireKey(key: string | undefined): void {
  if (key === undefined || /^[!-~]*$/.test(key)) return;
  throw new UsageError('apiKey: it has characters that no API key has');
}
