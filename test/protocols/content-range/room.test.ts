import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rangeBodyBytes } from '../../../src/protocols/http/admission.ts';
import { bytesOf } from '../rest/rest-client.ts';
import { type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import type { Exchange } from '../rest/wire.ts';
import { progressOf, rangeClient } from './range-client.ts';

/** As many small bodies as the smallest budget has room for. */
const room = (8 * 1024 ** 2) / rangeBodyBytes(1);
const size = 1000;
const file = bytesOf(size);

describe('a gateway that is full', () => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('disk', { env: { PARTWAY_MEMORY_BUDGET: '8MiB' } });
  });

  afterAll(() => gateway.stop());

  /** Requests that have been told to send their bodies, and do not. */
  const fill = async (names: string): Promise<Exchange[]> => {
    const hanging = Array.from({ length: room }, (_, index) =>
      gateway.client.wire.open({
        method: 'PUT',
        // None is a repeat of what has completed: that would be read before it is let in.
        path: `/objects/${names}-${index}`,
        headers: {
          'content-range': `bytes 0-${size - 1}/${size}`,
          'content-length': String(size),
          expect: '100-continue',
        },
      }),
    );
    await Promise.all(hanging.map(({ continued }) => continued));
    return hanging;
  };

  test.each([
    ['a chunk', 'bytes 0-999/1000'],
    ['a whole object', undefined],
  ])('lets %s wait until there is room', async (what, range) => {
    const hanging = await fill(encodeURIComponent(`beside ${what}`));
    const waiting = rangeClient(gateway, `/objects/${encodeURIComponent(what)}`).send(range, file);
    let isAnswered = false;
    void waiting.finally(() => {
      isAnswered = true;
    });
    // Whoever came after it and needs no room has long had an answer.
    for (let i = 0; i < 20; i++) await gateway.client.list();
    expect(isAnswered).toBe(false);
    hanging[0]!.request.end(file);
    expect(progressOf(await waiting).state).toBe('completed');
    for (const { request } of hanging.slice(1)) request.end(file);
    for (const { answer } of hanging) progressOf(await answer);
  });
});
