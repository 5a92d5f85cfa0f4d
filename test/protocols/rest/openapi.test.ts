import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { uploadErrorCodes } from '../../../src/core/errors.ts';
import { type RestGateway, startRestGateway } from './rest-gateway.ts';

const routes = {
  '/uploads': ['get', 'post'],
  '/uploads/{id}': ['delete', 'get', 'post', 'put'],
  '/uploads/{id}/complete': ['post'],
  '/uploads/{id}/parts': ['get', 'post'],
  '/uploads/{id}/parts/sign': ['post'],
  '/uploads/{id}/parts/{partNumber}': ['put'],
};

/** OpenAPI 3.1, the objects that the document uses: 4.8.7 and on. */
const media = z.strictObject({ schema: z.record(z.string(), z.unknown()) });
const content = z.record(z.string().regex(/^[a-z]+\/[a-z+-]+$/), media);
const parameter = z.strictObject({
  name: z.string().min(1),
  in: z.enum(['path', 'query', 'header']),
  required: z.boolean().optional(),
  description: z.string().optional(),
  schema: z.record(z.string(), z.unknown()),
});
const operation = z.strictObject({
  summary: z.string().min(1),
  description: z.string().optional(),
  parameters: z.array(parameter).optional(),
  requestBody: z.strictObject({ required: z.boolean().optional(), content }).optional(),
  responses: z.record(
    z.string().regex(/^([1-5]\d\d|default)$/),
    z.strictObject({
      description: z.string().min(1),
      headers: z.record(z.string(), z.unknown()).optional(),
      content: content.optional(),
    }),
  ),
});
const document = z.object({
  openapi: z.literal('3.1.0'),
  info: z.object({ title: z.string().min(1), version: z.string().min(1) }),
  paths: z.record(z.string().startsWith('/'), z.partialRecord(z.enum(['get', 'put', 'post', 'delete']), operation)),
  components: z.object({ schemas: z.record(z.string(), z.record(z.string(), z.unknown())) }),
});

type Operation = z.infer<typeof operation>;

describe('the OpenAPI document', () => {
  let gateway: RestGateway;
  let text: string;
  let operations: [name: string, operation: Operation][];

  beforeAll(async () => {
    gateway = await startRestGateway('disk');
    ({ text } = await gateway.client.wire.send({ method: 'GET', path: '/openapi.json' }));
    operations = Object.entries(JSON.parse(text).paths as Record<string, Record<string, Operation>>).flatMap(
      ([path, methods]) =>
        Object.entries(methods).map(([method, one]): [string, Operation] => [`${method} ${path}`, one]),
    );
  });

  afterAll(() => gateway.stop());

  test('names every route', () => {
    const { paths } = JSON.parse(text) as { paths: Record<string, object> };
    const named = Object.fromEntries(
      Object.entries(paths).map(([path, methods]) => [path, Object.keys(methods).sort()]),
    );
    expect(named).toEqual({ ...routes, '/objects/{key}': ['get', 'post', 'put'] });
  });

  test('has the structure of OpenAPI 3.1', () => {
    document.parse(JSON.parse(text));
    for (const [name, one] of operations)
      expect([name, operation.safeParse(one).error?.issues]).toEqual([name, undefined]);
  });

  test('has no reference that leads nowhere', () => {
    const { schemas } = document.parse(JSON.parse(text)).components;
    const references = new Set(text.match(/"#\/[^"]+"/g)?.map((reference) => reference.slice(1, -1)));
    for (const reference of references) expect(reference).toMatch(/^#\/components\/schemas\/\w+$/);
    const used = [...references].map((reference) => reference.split('/').at(-1));
    for (const name of used) expect(Object.keys(schemas)).toContain(name);
  });

  test('declares the parameters of each path', () => {
    for (const [name, { parameters = [] }] of operations) {
      const wanted = [...name.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter);
      const declared = parameters.filter((one) => one.in === 'path');
      expect([name, declared.map((one) => one.name)]).toEqual([name, wanted]);
      for (const one of declared) expect(one.required).toBe(true);
    }
  });

  test('says of every route that it may answer with a problem', () => {
    for (const [name, { responses }] of operations) {
      expect([name, responses.default?.content]).toEqual([
        name,
        { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      ]);
    }
  });

  test('lists every code that a problem may have', () => {
    const { schemas } = document.parse(JSON.parse(text)).components;
    const code = z.object({ properties: z.object({ code: z.object({ enum: z.array(z.string()) }) }) });
    expect(code.parse(schemas.Problem).properties.code.enum).toEqual([...uploadErrorCodes, 'internal', 'not_found']);
  });

  test('says that a part is bytes, and has a number', () => {
    const [, { requestBody, parameters }] = operations.find(([name]) => name.endsWith('/{partNumber}'))!;
    expect(requestBody?.content).toEqual({
      'application/octet-stream': { schema: { type: 'string', format: 'binary' } },
    });
    expect(parameters?.find(({ name }) => name === 'partNumber')?.schema).toMatchObject({
      type: 'integer',
      minimum: 1,
    });
  });

  test('leaves out reading where objects are not served', async () => {
    const closed = await startRestGateway('disk', { beside: gateway, env: { PARTWAY_READ_OBJECTS: 'false' } });
    try {
      const answer = await closed.client.wire.send({ method: 'GET', path: '/openapi.json' });
      const { paths } = JSON.parse(text);
      delete paths['/objects/{key}'].get;
      expect(JSON.parse(answer.text).paths).toEqual(paths);
    } finally {
      await closed.stop();
    }
  });

  test('is read by a page that loads its script from here, and nothing from elsewhere', async () => {
    const page = await gateway.client.wire.send({ method: 'GET', path: '/docs' });
    expect(page).toMatchObject({ status: 200, headers: { 'content-type': expect.stringMatching(/^text\/html\b/) } });
    const loaded = [...page.text.matchAll(/(?:src|href)\s*=\s*["']([^"']*)["']/g)].map(([, url]) => url);
    expect(loaded).toEqual(['/docs/reference.js']);
    expect(page.text).toContain('/openapi.json');
    expect(page.text).not.toMatch(/https?:|url\(|@import|["']\/\//);

    const script = await gateway.client.wire.send({ method: 'GET', path: '/docs/reference.js' });
    expect(script).toMatchObject({ status: 200, headers: { 'content-type': 'text/javascript; charset=utf-8' } });
    expect(script.text).toContain('createApiReference');
  });
});
