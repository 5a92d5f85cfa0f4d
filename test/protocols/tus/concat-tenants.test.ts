import { afterAll, beforeAll, expect, test } from 'vitest';
import { createApiKey } from '../../../src/db/api-keys.ts';
import { Connection } from '../../../src/db/connection.ts';
import { type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { expectRefused, locationOf, TusClient } from './tus-client.ts';

let gateway: RestGateway;
let connection: Connection;
let client: TusClient;

beforeAll(async () => {
  gateway = await startRestGateway('disk', { env: { PARTWAY_AUTH: 'keys', PARTWAY_BUCKETS: 'second' } });
  connection = new Connection({ url: gateway.databaseUrl, onIdleError: () => undefined });
  client = new TusClient(gateway.url);
});

afterAll(async () => {
  client?.close();
  await connection?.close();
  await gateway?.stop();
});

type Headers = Readonly<Record<string, string>>;

async function holder(tenant: string, restrictions: { bucket?: string } = {}): Promise<Headers> {
  const { secret } = await createApiKey(connection, {
    tenant,
    tenantKeyPrefix: undefined,
    name: 'test',
    scopes: ['uploads:write', 'uploads:read', 'objects:read'],
    bucket: restrictions.bucket,
    keyPrefix: '',
    stagingPrefix: '.partway/',
  });
  return { authorization: `Bearer ${secret}` };
}

async function partialOf(headers: Headers): Promise<string> {
  const partial = { ...headers, 'upload-concat': 'partial', 'upload-length': '3' };
  return locationOf(await client.create(partial, Buffer.from('abc')));
}

test('partial uploads of another tenant, or out of reach of a key, are none', async () => {
  const [ours, theirs] = [await holder('acme'), await holder('umbrella')];
  const [inOurs, inTheirs] = [await partialOf(ours), await partialOf(theirs)];
  const both = { 'upload-concat': `final;${inOurs} ${inTheirs}` };
  for (const headers of [ours, theirs]) {
    expectRefused(await client.create({ ...headers, ...both }), 404, 'upload_not_found');
  }
  const elsewhere = await holder('acme', { bucket: 'second' });
  expectRefused(await client.create({ ...elsewhere, 'upload-concat': `final;${inOurs}` }), 404, 'upload_not_found');
  const inSecond = await partialOf(elsewhere);
  const acrossBuckets = { ...ours, 'upload-concat': `final;${inOurs} ${inSecond}` };
  expectRefused(await client.create(acrossBuckets), 409, 'state_conflict');
});

test('what is put together goes to the tenant’s own place', async () => {
  const ours = await holder('acme');
  const final = locationOf(await client.create({ ...ours, 'upload-concat': `final;${await partialOf(ours)}` }));
  const answer = await client.send('GET', final, ours);
  expect({ status: answer.status, text: answer.text }).toEqual({ status: 200, text: 'abc' });
  expect((await client.send('GET', final, await holder('umbrella'))).status).toBe(404);
});
