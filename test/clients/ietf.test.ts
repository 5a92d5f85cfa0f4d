import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bytesOf } from '../protocols/rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../protocols/rest/rest-gateway.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../support/fault-proxy.ts';

const KiB = 1024;
const MiB = 1024 ** 2;
const store = (await availableStores()).at(-1)!;
type Headers = Readonly<Record<string, string>>;

/** What URLSession does: iOS 18.0, 18.1, 26; and the versions between and behind. */
const versions = ['5', '6', '7', '8', '9'];

/**
 * Uploads as the draft tells clients to ("Upgrading To Resumable Uploads"): all at once, and where that breaks off it asks for the
 * offset at the URL of the 104, and appends the rest.
 */
class UpgradingClient {
  readonly #version: string;
  #resource: string | undefined;
  offsets: number[] = [];

  constructor(version: string) {
    this.#version = version;
  }

  async upload(url: string, bytes: Buffer): Promise<number> {
    let answer = await this.#send('POST', url, { 'content-type': 'video/mp4', 'upload-complete': '?1' }, bytes);
    for (let tries = 0; answer === undefined || answer.statusCode! >= 500; tries++) {
      if (this.#resource === undefined || tries === 10)
        throw new Error(`it broke off, and there is no way on (${tries})`);
      await sleep(20 * tries);
      const found = await this.#send('HEAD', this.#resource, {});
      if (found === undefined || found.statusCode! >= 500) continue;
      const offset = Number(found.headers['upload-offset']);
      if (offset > (this.offsets.at(-1) ?? -1)) tries = 0;
      this.offsets.push(offset);
      if (found.headers['upload-complete'] === '?1') return found.statusCode!;
      const type = this.#version === '5' ? {} : { 'content-type': 'application/partial-upload' };
      const headers = { ...type, 'upload-offset': String(offset), 'upload-complete': '?1' };
      answer = await this.#send('PATCH', this.#resource, headers, bytes.subarray(offset));
    }
    expect(answer.headers['upload-complete']).toBe('?1');
    return answer.statusCode!;
  }

  /** `undefined` where the line broke. */
  async #send(method: string, url: string, headers: Headers, body?: Buffer): Promise<IncomingMessage | undefined> {
    const sent = request(url, {
      method,
      agent: new Agent(),
      headers: {
        'upload-draft-interop-version': this.#version,
        ...headers,
        ...(body && { 'content-length': String(body.length) }),
      },
    });
    sent.on('information', ({ statusCode, headers: told }) => {
      if (statusCode === 104) this.#resource ??= told.location as string | undefined;
    });
    sent.end(body);
    try {
      const [answer] = (await once(sent, 'response')) as [IncomingMessage];
      answer.resume();
      await once(answer, 'end');
      return answer;
    } catch {
      return undefined;
    }
  }
}

const isPost = ({ method }: ProxiedRequest) => method === 'POST';
const hasBody = ({ method }: ProxiedRequest) => method === 'POST' || method === 'PATCH';

describe.each(versions)('a client of the draft, interop version %s', { timeout: 60_000 }, (version) => {
  let gateway: RestGateway;
  let proxy: FaultProxy;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    proxy = await startFaultProxy({ target: gateway.url });
  });

  afterAll(async () => {
    await proxy?.stop();
    await gateway?.stop();
  });

  beforeEach(() => proxy.clear());

  async function expectUploaded(key: string, bytes: Buffer): Promise<UpgradingClient> {
    const client = new UpgradingClient(version);
    expect(await client.upload(`${proxy.url}/objects/${key}`, bytes)).toBeLessThan(300);
    expect((await gateway.client.read(key)).bytes.equals(bytes)).toBe(true);
    expect(client.offsets).toEqual(client.offsets.toSorted((a, b) => a - b));
    return client;
  }

  test('on a good line sends one request', async () => {
    await expectUploaded('good', bytesOf(9 * MiB, 'good'));
    expect(proxy.requests.map(({ method }) => method)).toEqual(['POST']);
  });

  test.each([
    ['cut in the middle', { kind: 'reset', at: { on: 'request', afterBytes: 5 * MiB } }],
    ['whose answer is lost', { kind: 'dropAnswer' }],
  ] as const)('makes a request %s good', async (_, fault) => {
    proxy.rule({ match: hasBody, times: 1, fault });
    await expectUploaded(`fault-${fault.kind}`, bytesOf(9 * MiB, fault.kind));
  });

  test('gets through where the line is cut every 700 KiB', async () => {
    proxy.rule({ match: isPost, fault: { kind: 'reset', at: { on: 'request', afterBytes: 5 * MiB } } });
    proxy.rule({ match: hasBody, fault: { kind: 'reset', at: { on: 'request', afterBytes: 700 * KiB } } });
    await expectUploaded('often', bytesOf(9 * MiB, 'often'));
  });
});
