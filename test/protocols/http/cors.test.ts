import { afterEach, describe, expect, test } from 'vitest';
import { readSettings } from '../../../src/config.ts';
import { type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { TusClient } from '../tus/tus-client.ts';

const page = 'https://app.example';

describe('pages of other origins', () => {
  let gateway: RestGateway | undefined;
  let client: TusClient | undefined;

  afterEach(async () => {
    client?.close();
    await gateway?.stop();
  });

  async function start(env: Readonly<Record<string, string>>): Promise<TusClient> {
    gateway = await startRestGateway('disk', { env });
    client = new TusClient(gateway.url);
    return client;
  }

  const preflight = (at: TusClient, path: string, origin: string) =>
    at.wire.send({
      method: 'OPTIONS',
      path,
      headers: {
        origin,
        'access-control-request-method': 'PATCH',
        'access-control-request-headers': 'authorization,upload-offset',
      },
    });

  test('that are allowed may call every front, and read what it answers', async () => {
    const at = await start({ PARTWAY_CORS_ORIGINS: `https://other.example, ${page}` });
    for (const path of ['/files/0123', '/uploads', '/objects/x']) {
      expect(await preflight(at, path, page)).toMatchObject({
        status: 204,
        headers: {
          'access-control-allow-origin': page,
          'access-control-allow-methods': expect.stringContaining('PATCH'),
          'access-control-allow-headers': 'authorization,upload-offset',
          vary: 'Origin',
        },
      });
    }
    const created = await at.create({ 'upload-length': '3', origin: page }, Buffer.from('abc'));
    const refused = await at.send('HEAD', '/files/0123', { origin: page });
    const read = await at.send('GET', String(created.headers.location), { origin: page });
    expect([created.status, refused.status, read.status]).toEqual([201, 404, 200]);
    for (const { headers } of [created, refused, read]) {
      expect(headers).toMatchObject({
        'access-control-allow-origin': page,
        'access-control-expose-headers': expect.stringContaining('Location'),
      });
      expect(headers['access-control-allow-credentials']).toBeUndefined();
    }
  });

  test('that are not have no say', async () => {
    const at = await start({ PARTWAY_CORS_ORIGINS: page });
    const answer = await preflight(at, '/files', 'https://evil.example');
    expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    const created = await at.create({ 'upload-length': '3', origin: 'https://evil.example' });
    expect(created.headers['access-control-allow-origin']).toBeUndefined();
  });

  test.each([
    [{}, undefined],
    [{ PARTWAY_AUTH: 'keys' }, '*'],
    [{ PARTWAY_AUTH: 'keys', PARTWAY_CORS_ORIGINS: 'none' }, undefined],
    [{ PARTWAY_CORS_ORIGINS: '*' }, '*'],
  ])('by %j', async (env, allowed) => {
    const answer = await preflight(await start(env), '/files', page);
    expect(answer.headers['access-control-allow-origin']).toBe(allowed);
  });

  test.each(['app.example', 'https://app.example/', 'https://app.example/x', ''])('%j is none', (origin) => {
    expect(() => readSettings({ PARTWAY_CORS_ORIGINS: `${page},${origin}` })).toThrow(/PARTWAY_CORS_ORIGINS: given/);
  });
});
