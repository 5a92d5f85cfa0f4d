import type { Readable } from 'node:stream';
import { type S3Client, UploadPartCommand } from '@aws-sdk/client-s3';
import { parseXML } from '@aws-sdk/xml-builder';
import { Sha256Node } from '@smithy/core/checksum';
import { getEndpointFromInstructions } from '@smithy/core/endpoints';
import { extendedEncodeURIComponent, HttpRequest } from '@smithy/core/protocols';
import type { NodeHttpHandler } from '@smithy/node-http-handler';
import { SignatureV4 } from '@smithy/signature-v4';
import { type ObjectAddress, StoreError } from '../../core/ports.ts';
import { toStoreError } from './errors.ts';
import { Sending } from './sending.ts';

export interface SignedPut extends ObjectAddress {
  /** For the log. */
  readonly name: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable;
  readonly sizeBytes: number;
}

/** Where a bucket is, and by which region's key requests to it are signed. */
interface Place {
  readonly url: URL;
  readonly signer: SignatureV4;
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
  readonly #client: S3Client;
  readonly #handler: NodeHttpHandler;
  readonly #places = new Map<string, Promise<Place>>();
  readonly #onServer: (server: string) => void;

  /** @param client whose region, endpoint and credentials are used */
  constructor(client: S3Client, handler: NodeHttpHandler, onServer: (server: string) => void) {
    this.#client = client;
    this.#handler = handler;
    this.#onServer = onServer;
  }

  /** @returns the ETag, as it was given. @throws StoreError, or what the handler throws when it is aborted */
  async send(put: SignedPut, abortSignal?: AbortSignal): Promise<string | undefined> {
    const { url, signer } = await this.#placeOf(put.bucket);
    const sending = new Sending(put.body);
    const request = new HttpRequest({
      method: 'PUT',
      protocol: url.protocol,
      hostname: url.hostname,
      ...(url.port === '' ? {} : { port: Number(url.port) }),
      path: `${url.pathname.replace(/\/$/, '')}/${put.key.split('/').map(extendedEncodeURIComponent).join('/')}`,
      query: { ...put.query },
      headers: {
        host: url.host,
        'content-length': String(put.sizeBytes),
        // A stream can't be hashed before it is sent, and a buffer would be read once more for it.
        'x-amz-content-sha256': 'UNSIGNED-PAYLOAD',
        ...put.headers,
      },
      body: sending,
    });
    const signingDate = new Date(Date.now() + this.#client.config.systemClockOffset);
    const signed = await signer.sign(request, { signingDate });
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

  #placeOf(bucket: string): Promise<Place> {
    let place = this.#places.get(bucket);
    if (place === undefined) {
      place = this.#resolve(bucket);
      this.#places.set(bucket, place);
      place.catch(() => this.#places.delete(bucket));
    }
    return place;
  }

  async #resolve(bucket: string): Promise<Place> {
    const { config } = this.#client;
    const endpoint = await getEndpointFromInstructions({ Bucket: bucket }, UploadPartCommand, { ...config });
    const [scheme] = (endpoint.properties?.authSchemes ?? []) as {
      readonly name: string;
      readonly signingRegion?: string;
    }[];
    if (scheme !== undefined && scheme.name !== 'sigv4') {
      throw new StoreError(
        'refused',
        `Requests to bucket ${bucket} are signed by ${scheme.name}, which is not supported.`,
      );
    }
    const signer = new SignatureV4({
      service: 's3',
      region: scheme?.signingRegion ?? config.region,
      credentials: config.credentials,
      sha256: Sha256Node,
      // S3: the path is signed as it is sent.
      uriEscapePath: false,
      applyChecksum: false,
    });
    return { url: new URL(endpoint.url), signer };
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
