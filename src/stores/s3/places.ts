import { type S3Client, UploadPartCommand } from '@aws-sdk/client-s3';
import { Sha256Node } from '@smithy/core/checksum';
import { getEndpointFromInstructions } from '@smithy/core/endpoints';
import { extendedEncodeURIComponent, HttpRequest } from '@smithy/core/protocols';
import { SignatureV4 } from '@smithy/signature-v4';
import { StoreError } from '../../core/object-store.ts';

/** A PUT at a bucket, as far as it is the same for all of them. */
export interface PutTarget {
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
}

/** Where a bucket is, and by which region's key requests to it are signed. */
export interface Place {
  readonly signer: SignatureV4;
  /** Now, by the store's clock. */
  readonly signingDate: () => Date;
  readonly requestTo: (target: PutTarget, headers: Readonly<Record<string, string>>) => HttpRequest;
}

/** Found by the SDK's rules for endpoints, once for each bucket. */
export class Places {
  readonly #client: S3Client;
  readonly #places = new Map<string, Promise<Place>>();

  /** @param client whose region, endpoint and credentials are used */
  constructor(client: S3Client) {
    this.#client = client;
  }

  of(bucket: string): Promise<Place> {
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
    const url = new URL(endpoint.url);
    return {
      signer,
      signingDate: () => new Date(Date.now() + config.systemClockOffset),
      requestTo: ({ key, query, headers }, more) =>
        new HttpRequest({
          method: 'PUT',
          protocol: url.protocol,
          hostname: url.hostname,
          ...(url.port === '' ? {} : { port: Number(url.port) }),
          path: `${url.pathname.replace(/\/$/, '')}/${key.split('/').map(extendedEncodeURIComponent).join('/')}`,
          query: { ...query },
          headers: { host: url.host, ...more, ...headers },
        }),
    };
  }
}
