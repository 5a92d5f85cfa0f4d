import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createApiKey } from '../../../src/db/api-keys.ts';
import { Connection } from '../../../src/db/connection.ts';
import { sql } from '../../../src/db/drizzle.ts';
import { bytesOf } from '../rest/rest-client.ts';
import { type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { expectDone, expectError, expectIncomplete, GoogleClient, sessionOf } from './google-client.ts';

let gateway: RestGateway;
let client: GoogleClient;

beforeAll(async () => {
  gateway = await startRestGateway('disk', { env: { PARTWAY_MAX_SIZE: '100MiB' } });
  client = new GoogleClient(gateway.url, gateway.bucket);
});

afterAll(async () => {
  client.close();
  await gateway.stop();
});

describe('a session', () => {
  test('is opened with an empty answer, and its URI is that of this server', async () => {
    const answer = await client.open('&name=folder%2Ffile.txt');
    expect(answer).toMatchObject({ status: 200, text: '' });
    const { origin, pathname, searchParams } = new URL(answer.headers.location!);
    expect(origin).toBe(gateway.url);
    expect(pathname).toBe(`/upload/storage/v1/b/${gateway.bucket}/o`);
    expect(searchParams.get('upload_id')).toMatch(/^[0-9a-f]{32}\.[A-Za-z0-9_-]{43}$/);
  });

  test('has the host that the client used', async () => {
    const answer = await client.open('&name=file', undefined, { host: 'uploads.example:8443' });
    expect(new URL(answer.headers.location!).host).toBe('uploads.example:8443');
  });

  test('takes what the client says of its object', async () => {
    const resource = { name: 'described', contentType: 'text/html', metadata: { Colour: 'blue' } };
    const session = sessionOf(
      await client.open('', resource, { 'x-upload-content-type': 'text/plain', 'x-upload-content-length': '3' }),
    );
    const object = expectDone(await client.put(session, 'bytes 0-2/3', Buffer.from('abc')), Buffer.from('abc'));
    expect(object).toEqual({
      kind: 'storage#object',
      id: `${gateway.bucket}/described/${object.generation}`,
      name: 'described',
      bucket: gateway.bucket,
      generation: expect.stringMatching(/^\d{16}$/),
      metageneration: '1',
      contentType: 'text/plain',
      storageClass: 'STANDARD',
      size: '3',
      md5Hash: expect.any(String),
      crc32c: expect.any(String),
      etag: expect.any(String),
      timeCreated: expect.stringMatching(/^\d{4}-.+Z$/),
      updated: object.timeCreated,
      timeStorageClassUpdated: object.timeCreated,
      metadata: { Colour: 'blue' },
    });
    expect((await gateway.client.read('described')).headers['content-type']).toBe('text/plain');
  });

  test('takes the content type of the resource where no header names one', async () => {
    const session = sessionOf(await client.open('', { name: 'typed', contentType: 'text/html' }));
    expect(expectDone(await client.put(session, undefined), Buffer.alloc(0))).toMatchObject({
      contentType: 'text/html',
    });
  });

  test('with ifGenerationMatch=0 makes no object where one is', async () => {
    const first = await client.session('once');
    const second = sessionOf(await client.open('&name=once&ifGenerationMatch=0'));
    expectDone(await client.put(first, undefined, Buffer.from('first')), Buffer.from('first'));
    expectError(await client.open('&name=once&ifGenerationMatch=0'), 412, 'conditionNotMet');
    expectError(await client.put(second, undefined, Buffer.from('second')), 412, 'conditionNotMet');
    expect((await gateway.client.read('once')).text).toBe('first');
  });

  test('with a crc32c makes no other object', async () => {
    const resource = { name: 'declared', crc32c: 'AAAAAA==' };
    const session = sessionOf(await client.open('', resource));
    expectError(await client.put(session, undefined, Buffer.from('abc')), 400, 'invalid');
    expect((await gateway.client.request('GET', '/objects/declared')).status).toBe(404);
  });
});

describe('a session is refused', () => {
  test.each([
    ['without a name', '', undefined, 400, 'invalid'],
    ['with two names', '&name=one', { name: 'other' }, 400, 'invalid'],
    ['with a name that no store takes', '&name=..%2Fx', undefined, 400, 'invalid'],
    ['with a resource that is none', '&name=x', { metadata: { a: 1 } }, 400, 'invalid'],
    ['with metadata that no header takes', '&name=x', { metadata: { 'a b': 'c' } }, 400, 'invalid'],
    ['with a crc32c that is none', '&name=x', { crc32c: 'AAAA' }, 400, 'invalid'],
    ['with a precondition that cannot be kept', '&name=x&ifGenerationMatch=7', undefined, 501, 'notImplemented'],
    ['with another that cannot be kept', '&name=x&ifMetagenerationMatch=1', undefined, 501, 'notImplemented'],
    ['with an encoding that would be lost', '&name=x', { contentEncoding: 'gzip' }, 501, 'notImplemented'],
    ['with an MD5 that cannot be checked', '&name=x', { md5Hash: 'x' }, 501, 'notImplemented'],
  ])('%s', async (_what, query, resource, status, reason) => {
    expectError(await client.open(query, resource), status, reason);
  });

  test('for a size that is none, or too large', async () => {
    const open = (size: string) => client.open('&name=x', undefined, { 'x-upload-content-length': size });
    expectError(await open('-1'), 400, 'invalid');
    expectError(await open(String(101 * 1024 ** 2)), 413, 'uploadTooLarge');
  });

  test('for a bucket that is not served', async () => {
    const other = new GoogleClient(gateway.url, 'another-bucket');
    expectError(await other.open('&name=x'), 403, 'forbidden');
    other.close();
  });

  test.each(['media', 'multipart'])('with uploadType=%s', async (uploadType) => {
    const path = `/upload/storage/v1/b/${gateway.bucket}/o?uploadType=${uploadType}&name=x`;
    expectError(await client.wire.send({ method: 'POST', path }, 'bytes'), 501, 'notImplemented');
  });

  test('for JSON that is none', async () => {
    const path = `/upload/storage/v1/b/${gateway.bucket}/o?uploadType=resumable&name=x`;
    const headers = { 'content-type': 'application/json' };
    expectError(await client.wire.send({ method: 'POST', path, headers }, '{'), 400, 'invalid');
  });
});

describe('the secret of a session', () => {
  test('is needed, all of it', async () => {
    const session = await client.session('secret');
    const other = await client.session('other');
    const secret = (of: string) => of.slice(of.lastIndexOf('.') + 1);
    expectError(await client.put(`${session}x`, 'bytes */*'), 404, 'notFound');
    expectError(await client.put(session.replace(secret(session), secret(other)), 'bytes */*'), 404, 'notFound');
    expectError(await client.put(session.replace(secret(session), ''), 'bytes */*'), 404, 'notFound');
    expectError(await client.put(session.replace(/&upload_id.*/, ''), 'bytes */*'), 400, 'invalid');
    expectError(await client.put(session.replace(`/b/${gateway.bucket}/`, '/b/other/'), 'bytes */*'), 404, 'notFound');
    expectIncomplete(await client.put(session, 'bytes */*'), 0);
  });

  test('is nowhere in the records', async () => {
    const session = await client.session('hashed');
    const connection = new Connection({ url: gateway.databaseUrl, onIdleError: () => undefined });
    const { rows } = await connection.run((db) => db.execute(sql`select uploads::text as row from uploads`));
    await connection.close();
    expect(rows.length).toBeGreaterThan(0);
    const secret = session.slice(session.lastIndexOf('.') + 1);
    for (const { row } of rows) {
      expect(row).not.toContain(secret);
      expect(row).not.toContain(Buffer.from(secret).toString('hex'));
    }
  });
});

describe('a session', () => {
  let connection: Connection;

  beforeAll(() => {
    connection = new Connection({ url: gateway.databaseUrl, onIdleError: () => undefined });
  });

  afterAll(() => connection.close());

  test('that expired is gone', async () => {
    const session = await client.session('expired');
    await connection.run((db) =>
      db.execute(sql`update uploads set state = 'aborted', reason = 'expired' where key = 'expired'`),
    );
    expectError(await client.put(session, 'bytes */*'), 410, 'gone');
    expectError(await client.put(session, 'bytes 0-2/3', Buffer.from('abc')), 410, 'gone');
  });

  test("is not opened by another front's session id", async () => {
    const session = await client.session('chosen');
    expectIncomplete(await client.put(session, 'bytes */*'), 0);
    await connection.run((db) => db.execute(sql`update uploads set protocol = 'content-range' where key = 'chosen'`));
    expectError(await client.put(session, 'bytes */*'), 404, 'notFound');
  });
});

describe('with API keys and a public URL', () => {
  let guarded: RestGateway;
  let connection: Connection;
  let stranger: GoogleClient;

  beforeAll(async () => {
    guarded = await startRestGateway('disk', {
      env: { PARTWAY_AUTH: 'keys', PARTWAY_PUBLIC_URL: 'https://uploads.example/gate/' },
    });
    connection = new Connection({ url: guarded.databaseUrl, onIdleError: () => undefined });
    stranger = new GoogleClient(guarded.url, guarded.bucket);
  });

  afterAll(async () => {
    stranger.close();
    await connection.close();
    await guarded.stop();
  });

  async function keyOf(tenant: string): Promise<string> {
    const key = await createApiKey(connection, {
      tenant,
      tenantKeyPrefix: undefined,
      stagingPrefix: '.partway/',
      name: 'test',
      scopes: ['uploads:write'],
      bucket: undefined,
      keyPrefix: '',
    });
    return `Bearer ${key.secret}`;
  }

  test('a session is opened with a key, goes on without one, and is reached by the public URL', async () => {
    expectError(await stranger.open('&name=file'), 401, 'required');
    const authorization = await keyOf('acme');
    const answer = await stranger.open('&name=file', undefined, { authorization });
    expect(answer.headers.location).toMatch(/^https:\/\/uploads\.example\/gate\/upload\/storage\/v1\/b\//);
    const session = sessionOf(answer).replace('/gate', '');
    expectIncomplete(await stranger.put(session, 'bytes 0-2/5', Buffer.from('abc')), 3);
    expectDone(await stranger.put(session, 'bytes 3-4/5', Buffer.from('de')), Buffer.from('abcde'));
  });

  test("an upload's plain id goes on for whoever may use the upload, and for nobody else", async () => {
    const authorization = await keyOf('acme');
    const session = sessionOf(await stranger.open('&name=plain', undefined, { authorization })).replace('/gate', '');
    const plain = session.replace(/\.[^.]+$/, '');
    expectError(await stranger.put(plain, 'bytes */*'), 401, 'required');
    const other = { authorization: await keyOf('other') };
    expectError(await stranger.put(plain, 'bytes */*', undefined, other), 404, 'notFound');
    expectDone(await stranger.put(plain, undefined, bytesOf(3), { authorization }), bytesOf(3));
  });
});
