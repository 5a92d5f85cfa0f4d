import type { Readable } from 'node:stream';
import { parseXML } from '@aws-sdk/xml-builder';
import type { HttpRequest } from '@smithy/core/protocols';
import type { NodeHttpHandler } from '@smithy/node-http-handler';
import { type ObjectAddress, StoreError } from '../../core/object-store.ts';
import { toStoreError } from './errors.ts';
import type { Places } from './places.ts';
import { Sending } from './sending.ts';

export interface SignedPut extends ObjectAddress {
  /** For the log. */
  readonly name: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable;
  readonly sizeBytes: number;
}

/** The store has read the body to its end, so its last byte has left: this only waits for the news of that. */
const sentWithinMs = 1_000;

/** An answer to an error is a few hundred bytes of XML; what is beyond this is not one. */
const mostErrorBytes = 64 * 1024;

/**
 * PUTs with a body, put together and signed by the SDK's own parts, but past its stack of serializers and middlewares:
 * for calls of a MiB that stack costs as much as all the rest of the gateway.
 */
export class SignedPuts {
  readonly #places: Places;
  readonly #handler: NodeHttpHandler;
  readonly #onServer: (server: string) => void;

  constructor(places: Places, handler: NodeHttpHandler, onServer: (server: string) => void) {
    this.#places = places;
    this.#handler = handler;
    this.#onServer = onServer;
  }

  /** @returns the ETag, as it was given. @throws StoreError, or what the handler throws when it is aborted */
  async send(put: SignedPut, abortSignal?: AbortSignal): Promise<string | undefined> {
    const { signer, signingDate, requestTo } = await this.#places.of(put.bucket);
    const sending = new Sending(put.body);
    const request = requestTo(put, {
      'content-length': String(put.sizeBytes),
      // A stream can't be hashed before it is sent, and a buffer would be read once more for it.
      'x-amz-content-sha256': 'UNSIGNED-PAYLOAD',
    });
    request.body = sending;
    const signed = await signer.sign(request, { signingDate: signingDate() });
    const { response } = await this.#handler.handle(
      signed as HttpRequest,
      abortSignal === undefined ? {} : { abortSignal },
    );
    const answer = response.body as Readable;
    const { server, etag } = response.headers;
    if (server !== undefined) this.#onServer(server);
    if (response.statusCode >= 300) throw toStoreError(put.name, await errorOf(response.statusCode, answer));
    // Its connection is free for the next call then.
    await new Promise((resolve) => answer.once('close', resolve).resume());
    // The caller frees the body's memory after a success.
    if (await sending.isSent(sentWithinMs)) return etag;
    throw new StoreError('unavailable', `${put.name}: the store answered ${response.statusCode} before the body's end`);
  }
}

/** S3: "REST Error Responses", in the shape that the SDK gives its errors. */
async function errorOf(status: number, answer: Readable): Promise<Error> {
  const { Code, Message } = parsedError(await readError(answer));
  return Object.assign(new Error(Message ?? `status ${status}`), {
    name: Code ?? 'Unknown',
    $metadata: { httpStatusCode: status },
  });
}

/** What has come of it, where it breaks off. */
async function readError(answer: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes > mostErrorBytes) break;
    }
  } catch {}
  return Buffer.concat(chunks).toString('utf8');
}

function parsedError(xml: string): { readonly Code?: string; readonly Message?: string } {
  try {
    return (parseXML(xml) as { Error?: { Code?: string; Message?: string } }).Error ?? {};
  } catch {
    return {};
  }
}
