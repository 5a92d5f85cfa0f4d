import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { contentRangeFront } from '../../../src/protocols/content-range/index.ts';
import { contentRangeProblems } from '../../../src/protocols/content-range/problems.ts';
import { bytesOf } from '../rest/rest-client.ts';
import { type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { progressOf, rangeClient } from './range-client.ts';

const size = 3000;
const file = bytesOf(size);

const operation = z.object({
  parameters: z.array(z.object({ name: z.string(), in: z.string() })),
  requestBody: z.object({ content: z.record(z.string(), z.unknown()) }),
  responses: z.record(
    z.string(),
    z.object({
      description: z.string(),
      headers: z.record(z.string(), z.unknown()).optional(),
      content: z.record(z.string(), z.object({ schema: z.record(z.string(), z.unknown()) })),
    }),
  ),
});

const ours = ['put /objects/{key}', 'post /objects/{key}', 'put /uploads/{id}', 'post /uploads/{id}'];

describe('the description of chunks', () => {
  let gateway: RestGateway;
  /** With references that a JSON Schema of its own can follow. */
  let schemas: Record<string, Record<string, unknown>>;
  let operations: readonly z.infer<typeof operation>[];

  beforeAll(async () => {
    gateway = await startRestGateway('disk');
    const { text } = await gateway.client.wire.send({ method: 'GET', path: '/openapi.json' });
    const { paths } = JSON.parse(text) as { readonly paths: Record<string, Record<string, unknown>> };
    ({ schemas } = JSON.parse(text.replaceAll('#/components/schemas/', '#/$defs/')).components);
    operations = ours.map((name) => {
      const [method = '', path = ''] = name.split(' ');
      return operation.parse(paths[path]?.[method]);
    });
  });

  afterAll(() => gateway.stop());

  test('has every route of the front', () => {
    const options = { core: {}, authenticate: () => undefined } as unknown as Parameters<typeof contentRangeFront>[0];
    const routes = contentRangeFront(options).routes.map(({ method, path }) => {
      return `${method.toLowerCase()} ${path.replace(/:(\w+)(\{.*\})?/, '{$1}')}`;
    });
    expect([...new Set(routes)].sort()).toEqual([...ours].sort());
  });

  test('names the headers that say where a chunk belongs, and the bodies that bring it', () => {
    for (const { parameters, requestBody } of operations) {
      const headers = parameters.filter((one) => one.in === 'header').map(({ name }) => name);
      expect(headers).toEqual(expect.arrayContaining(['Content-Range', 'X-Content-Range', 'X-Session-ID']));
      expect(Object.keys(requestBody.content)).toEqual(['application/octet-stream', 'multipart/form-data']);
    }
  });

  test('tells the problems of each status', async () => {
    for (const { responses } of operations) {
      for (const [status, { content, description }] of Object.entries(responses)) {
        if (Number(status) < 400) continue;
        expect(content).toEqual({ 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } });
        for (const [, code] of description.matchAll(/`(\w+)`/g)) {
          expect(contentRangeProblems[code as keyof typeof contentRangeProblems].status).toBe(Number(status));
        }
      }
      expect(Object.keys(responses)).toEqual(
        expect.arrayContaining(['400', '404', '408', '409', '410', '413', '415', '416', '503', '507', 'default']),
      );
    }
  });

  test('fits what is answered', async () => {
    const client = rangeClient(gateway, '/objects/described');
    const answers = [
      await client.chunk(file, 2000, 3000, '*'),
      await client.chunk(file, 0, 1000, '*'),
      await client.ask(),
      await client.chunk(file, 1000, 2000),
    ];
    expect(answers.map((answer) => progressOf(answer).state)).toEqual(['open', 'open', 'open', 'completed']);
    const progress = z.fromJSONSchema({ ...schemas.Progress, additionalProperties: false, $defs: schemas } as never);
    for (const { text } of answers) progress.parse(JSON.parse(text));
    for (const { responses } of operations) {
      const { content, headers = {} } = responses['200']!;
      expect(content).toEqual({ 'application/json': { schema: { $ref: '#/components/schemas/Progress' } } });
      const names = Object.keys(headers).map((name) => name.toLowerCase());
      expect(answers.at(-1)!.headers).toMatchObject(
        Object.fromEntries(names.map((name) => [name, expect.any(String)])),
      );
    }
  });

  test("fits what nginx's clients are answered", async () => {
    const headers = { 'x-content-range': 'bytes 0-99/3000', 'session-id': '1' };
    const answer = await rangeClient(gateway, '/objects/described-session').send(
      undefined,
      file.subarray(0, 100),
      headers,
    );
    for (const { responses } of operations) {
      expect(Object.keys(responses[String(answer.status)]!.content)).toEqual([answer.headers['content-type']]);
    }
  });
});
